"""Write the JSON Schemas, the AsyncAPI document and what goes to schema registries into schemas/."""

from pathlib import Path

from schemas.asyncapi import FILE_NAME, asyncapi
from schemas.json_schema import file_name, json_schemas, render
from schemas.registered import AVRO_FILE, PROTOBUF_FILE, avro, protobuf

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"

if __name__ == "__main__":
    documents = {file_name(message): render(schema) for message, schema in json_schemas().items()}
    documents |= {FILE_NAME: render(asyncapi()), AVRO_FILE: avro(), PROTOBUF_FILE: protobuf()}
    for name, text in documents.items():
        path = SCHEMAS / name
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(SCHEMAS.parent))
