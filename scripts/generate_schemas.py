"""Write the JSON Schemas of the messages and the AsyncAPI document into schemas/: run it after a change of any type."""

from pathlib import Path

from schemas.asyncapi import FILE_NAME, asyncapi
from schemas.json_schema import file_name, json_schemas, render

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"

if __name__ == "__main__":
    documents = {file_name(message): schema for message, schema in json_schemas().items()} | {FILE_NAME: asyncapi()}
    for name, schema in documents.items():
        path = SCHEMAS / name
        path.write_text(render(schema), encoding="utf-8")
        print(path.relative_to(SCHEMAS.parent))
