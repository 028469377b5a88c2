"""The C declarations that this binding assumes, and the facts by which a library is held to them.

ABI mode reads no header: a struct that differs from the library's would be misread in silence. Three
things stand against that. ``LAYOUT`` is compared with a C compiler's view of the real header by
``tests/binding/test_layout.py``; ``MINIMUM_VERSION`` is the first release with this layout
(1.8.1 put ``carry_initial_prompt`` into the middle of ``whisper_full_params``; 1.8.0 and before
have ``language`` eight bytes earlier); and the default values that a library writes into the struct
(see ``library.py``) must lie where this layout says.

Declarations follow include/whisper.h and ggml/include/ggml.h of whisper.cpp 1.8.5 (MIT).
"""

from typing import Final

MINIMUM_VERSION: Final = (1, 8, 1)

DECLARATIONS: Final = """
struct whisper_context;
struct whisper_state;

typedef bool (*ggml_abort_callback)(void * data);
typedef bool (*whisper_encoder_begin_callback)(
    struct whisper_context * ctx, struct whisper_state * state, void * user_data);
typedef void (*ggml_log_callback)(int level, const char * text, void * user_data);

typedef struct { int n_text_layer; int n_head; } whisper_ahead;
typedef struct { size_t n_heads; const whisper_ahead * heads; } whisper_aheads;

struct whisper_context_params {
    bool use_gpu;
    bool flash_attn;
    int gpu_device;
    bool dtw_token_timestamps;
    int dtw_aheads_preset;
    int dtw_n_top;
    whisper_aheads dtw_aheads;
    size_t dtw_mem_size;
};

typedef struct {
    int32_t id;
    int32_t tid;
    float p;
    float plog;
    float pt;
    float ptsum;
    int64_t t0;
    int64_t t1;
    int64_t t_dtw;
    float vlen;
} whisper_token_data;

struct whisper_vad_params {
    float threshold;
    int min_speech_duration_ms;
    int min_silence_duration_ms;
    float max_speech_duration_s;
    int speech_pad_ms;
    float samples_overlap;
};

struct whisper_full_params {
    int strategy;
    int n_threads;
    int n_max_text_ctx;
    int offset_ms;
    int duration_ms;
    bool translate;
    bool no_context;
    bool no_timestamps;
    bool single_segment;
    bool print_special;
    bool print_progress;
    bool print_realtime;
    bool print_timestamps;
    bool token_timestamps;
    float thold_pt;
    float thold_ptsum;
    int max_len;
    bool split_on_word;
    int max_tokens;
    bool debug_mode;
    int audio_ctx;
    bool tdrz_enable;
    const char * suppress_regex;
    const char * initial_prompt;
    bool carry_initial_prompt;
    const int32_t * prompt_tokens;
    int prompt_n_tokens;
    const char * language;
    bool detect_language;
    bool suppress_blank;
    bool suppress_nst;
    float temperature;
    float max_initial_ts;
    float length_penalty;
    float temperature_inc;
    float entropy_thold;
    float logprob_thold;
    float no_speech_thold;
    struct { int best_of; } greedy;
    struct { int beam_size; float patience; } beam_search;
    void * new_segment_callback;
    void * new_segment_callback_user_data;
    void * progress_callback;
    void * progress_callback_user_data;
    whisper_encoder_begin_callback encoder_begin_callback;
    void * encoder_begin_callback_user_data;
    ggml_abort_callback abort_callback;
    void * abort_callback_user_data;
    void * logits_filter_callback;
    void * logits_filter_callback_user_data;
    const void ** grammar_rules;
    size_t n_grammar_rules;
    size_t i_start_rule;
    float grammar_penalty;
    bool vad;
    const char * vad_model_path;
    struct whisper_vad_params vad_params;
};

const char * whisper_version(void);
const char * whisper_print_system_info(void);
void whisper_log_set(ggml_log_callback log_callback, void * user_data);

struct whisper_context_params * whisper_context_default_params_by_ref(void);
void whisper_free_context_params(struct whisper_context_params * params);
struct whisper_full_params * whisper_full_default_params_by_ref(int strategy);
void whisper_free_params(struct whisper_full_params * params);

struct whisper_context * whisper_init_from_file_with_params_no_state(
    const char * path_model, struct whisper_context_params params);
struct whisper_state * whisper_init_state(struct whisper_context * ctx);
void whisper_free(struct whisper_context * ctx);
void whisper_free_state(struct whisper_state * state);

int whisper_is_multilingual(struct whisper_context * ctx);
const char * whisper_model_type_readable(struct whisper_context * ctx);
int32_t whisper_token_eot(struct whisper_context * ctx);
int32_t whisper_token_sot(struct whisper_context * ctx);
int32_t whisper_token_translate(struct whisper_context * ctx);
int32_t whisper_token_lang(struct whisper_context * ctx, int lang_id);

int whisper_lang_max_id(void);
int whisper_lang_id(const char * lang);
const char * whisper_lang_str(int id);

int whisper_decode_with_state(
    struct whisper_context * ctx, struct whisper_state * state, const int32_t * tokens, int n_tokens, int n_past,
    int n_threads);
float * whisper_get_logits_from_state(struct whisper_state * state);
int whisper_full_with_state(
    struct whisper_context * ctx, struct whisper_state * state, struct whisper_full_params params,
    const float * samples, int n_samples);

int whisper_full_n_segments_from_state(struct whisper_state * state);
int whisper_full_lang_id_from_state(struct whisper_state * state);
int64_t whisper_full_get_segment_t0_from_state(struct whisper_state * state, int i_segment);
int64_t whisper_full_get_segment_t1_from_state(struct whisper_state * state, int i_segment);
float whisper_full_get_segment_no_speech_prob_from_state(struct whisper_state * state, int i_segment);
int whisper_full_n_tokens_from_state(struct whisper_state * state, int i_segment);
const char * whisper_full_get_token_text_from_state(
    struct whisper_context * ctx, struct whisper_state * state, int i_segment, int i_token);
whisper_token_data whisper_full_get_token_data_from_state(struct whisper_state * state, int i_segment, int i_token);
"""

LIBC_DECLARATIONS: Final = "size_t strlen(const char * s);"

STRATEGY_GREEDY: Final = 0
STRATEGY_BEAM_SEARCH: Final = 1

# sizeof and offsetof on x86-64 (LP64), whisper.cpp 1.8.1 to 1.9.3. Read off the released headers
# by a C compiler; the same program checks them again in the tests.
STRUCT_SIZES: Final = {
    "struct whisper_context_params": 48,
    "struct whisper_full_params": 304,
    "whisper_token_data": 56,
    "struct whisper_vad_params": 24,
}

# Default values at byte offsets of whisper_full_params: (offset, struct format, values). The two
# strategies differ only at 0 (strategy), 144 (greedy.best_of) and 148 (beam_search.beam_size).
# ``language`` comes last: it is a pointer, followed only when everything before it agreed.
CANARIES: Final[tuple[tuple[int, str, tuple[float, ...]], ...]] = (
    (8, "<i", (16384,)),
    (20, "<8B", (0, 1, 0, 0, 0, 1, 0, 1)),
    (32, "<2f", (0.01, 0.01)),
    (113, "<B", (1,)),
    (120, "<6f", (1.0, -1.0, 0.2, 2.4, -1.0, 0.6)),
    (264, "<f", (100.0,)),
    (280, "<fii", (0.5, 250, 100)),
    (296, "<if", (30, 0.1)),
)
LANGUAGE_OFFSET: Final = 104
