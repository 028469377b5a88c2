"""Write the JSON Schemas of the messages into schemas/. Run it after every change of a message type."""

from pathlib import Path

from schemas.json_schema import file_name, json_schemas, render

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"

if __name__ == "__main__":
    for message, schema in json_schemas().items():
        path = SCHEMAS / file_name(message)
        path.write_text(render(schema), encoding="utf-8")
        print(path.relative_to(SCHEMAS.parent))
