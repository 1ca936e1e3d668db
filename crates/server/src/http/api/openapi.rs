//! The OpenAPI document (3.1), made from the table of verbs: it cannot say anything else than what
//! is served.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use roomcast_wire::ErrorCode;
use roomcast_wire::limits::KEY_BYTES_MAX;
use roomcast_wire::name::{EVENT_NUMBER_MAX, NAME_BYTES_MAX};
use serde_json::{Map, Value, json};

use super::answer::status_of;
use super::given::{Field, Kind};
use super::keys::BATCH;
use super::verbs::{Shape, VERBS, Verb};
use super::{BATCH_WANTED, PREFIX};

/// The document's own path. It holds no secret, so that no key is wanted.
pub(in super::super) fn path() -> String {
    format!("{PREFIX}openapi.json")
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

/// Statuses besides those of [`ErrorCode`]s.
const OTHER_STATUSES: [(u16, &str); 3] = [
    (404, "There is no such verb, room, session or user."),
    (405, "The path takes another method."),
    (408, "The body did not come in time."),
];

pub(in super::super) async fn serve() -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")];
    (headers, DOCUMENT.as_str()).into_response()
}

fn document() -> Value {
    let mut paths = Map::new();
    for verb in VERBS {
        let mut methods = Map::new();
        methods.insert("post".into(), operation(verb, true));
        if verb.looks {
            methods.insert("get".into(), operation(verb, false));
        }
        paths.insert(format!("{PREFIX}{}", verb.name), methods.into());
    }
    paths.insert(format!("{PREFIX}{BATCH}"), json!({ "post": batch() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "roomcast HTTP API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "For back ends: what happens in rooms, said and asked over HTTP.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of [[api.keys]]: `roomcast config key` makes one.",
                },
            },
            "schemas": schemas(),
        },
    })
}

fn operation(verb: &Verb, has_body: bool) -> Value {
    let id = if has_body { verb.name.to_owned() } else { format!("get_{}", verb.name) };
    let mut operation = json!({
        "operationId": id,
        "summary": verb.about,
        "responses": responses(&reference(name_of(verb.answer))),
    });
    if has_body {
        let required = verb.fields.iter().any(|field| field.required);
        operation["requestBody"] = json!({
            "required": required,
            "content": { "application/json": { "schema": body(verb) } },
        });
        if verb.fields.iter().any(|field| field.kind == Kind::Key) {
            operation["parameters"] = json!([{
                "name": "Idempotency-Key",
                "in": "header",
                "required": false,
                "description": "The same as the field `key`; if both are there, they must agree.",
                "schema": { "type": "string", "pattern": KEY_PATTERN },
            }]);
        }
    } else {
        let parameters = verb.fields.iter().map(|field| {
            json!({
                "name": field.name,
                "in": "query",
                "required": field.required,
                "description": field.about,
                "schema": query_schema(field),
            })
        });
        operation["parameters"] = parameters.collect();
    }
    operation
}

/// What a key in a header may be: visible ASCII without quotes.
const KEY_PATTERN: &str = "^[!#-~]{1,128}$";

fn batch() -> Value {
    let commands = VERBS.iter().map(|verb| {
        json!({
            "type": "object",
            "properties": { verb.name: body(verb) },
            "required": [verb.name],
            "additionalProperties": false,
        })
    });
    json!({
        "operationId": BATCH,
        "summary": "Several commands, carried out in their order.",
        "description": format!(
            "{BATCH_WANTED}. There is one result for each command, in their order: its answer or \
             its error. `api.batch_max` bounds their number."
        ),
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": {
                "type": "object",
                "properties": { "commands": {
                    "type": "array",
                    "maxItems": 100,
                    "items": { "oneOf": commands.collect::<Vec<_>>() },
                } },
                "required": ["commands"],
                "additionalProperties": false,
            } } },
        },
        "responses": responses(&json!({
            "type": "object",
            "properties": {
                "type": { "const": "batch" },
                "results": { "type": "array", "items": { "type": "object" } },
            },
            "required": ["type", "results"],
        })),
    })
}

fn responses(answer: &Value) -> Value {
    let mut responses = Map::new();
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let done = json!({ "description": "Done.", "content": content(answer) });
    responses.insert("200".into(), done);
    let error = content(&reference("error"));
    for code in ErrorCode::ALL {
        let status = status_of(*code).as_u16();
        let said = responses
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": "Refused:", "content": error }));
        let description = said["description"].as_str().unwrap_or_default();
        said["description"] = format!("{description} `{}`", code.reason()).into();
    }
    for (status, description) in OTHER_STATUSES {
        let said = json!({ "description": description, "content": error });
        responses.insert(status.to_string(), said);
    }
    responses.into()
}

fn body(verb: &Verb) -> Value {
    let mut properties = Map::new();
    for field in verb.fields {
        let mut schema = match field.kind {
            kind if field.required || kind == Kind::Data => schema(kind),
            // `null` is the same as leaving the field out.
            kind => json!({ "anyOf": [schema(kind), { "type": "null" }] }),
        };
        schema["description"] = field.about.into();
        if let Some(example) = example(field.kind) {
            schema["examples"] = json!([example]);
        }
        properties.insert(field.name.into(), schema);
    }
    let required: Vec<_> =
        verb.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut body = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        body["required"] = required.into();
    }
    body
}

fn example(kind: Kind) -> Option<Value> {
    match kind {
        Kind::Data => Some(json!({ "text": "hi" })),
        Kind::Event => Some("chat".into()),
        Kind::Key => Some("order-17".into()),
        Kind::Options => Some(json!({ "keep_when_empty": true })),
        Kind::Room => Some("lobby".into()),
        _ => None,
    }
}

fn query_schema(field: &Field) -> Value {
    match field.kind {
        Kind::Position => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{8}:[0-9]{1,19}$" }),
        kind => schema(kind),
    }
}

fn schema(kind: Kind) -> Value {
    let name = || json!({ "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX });
    match kind {
        Kind::Count => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Data => json!({}),
        Kind::Event => json!({ "oneOf": [
            name(), { "type": "integer", "minimum": 0, "maximum": EVENT_NUMBER_MAX },
        ] }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Key => json!({ "type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX }),
        Kind::Name => name(),
        Kind::Options => json!({ "type": "object" }),
        Kind::Position => reference("position"),
        Kind::Room => {
            json!({ "type": "string", "minLength": 1, "maxLength": 2 * NAME_BYTES_MAX + 1 })
        }
        Kind::Session => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{22}$" }),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn name_of(shape: Shape) -> &'static str {
    match shape {
        Shape::Created => "created",
        Shape::Delivered => "delivered",
        Shape::History => "history",
        Shape::Info => "info",
        Shape::Members => "members",
        Shape::Ok => "ok",
        Shape::Position => "published",
        Shape::Presence => "presence",
        Shape::Room => "room",
        Shape::Rooms => "rooms",
        Shape::Seated => "seated",
    }
}

/// A map with a `type`; keys that begin with `?` may be absent.
fn answer(kind: &str, properties: &[(&str, Value)]) -> Value {
    let mut all = Map::from_iter([("type".to_owned(), json!({ "const": kind }))]);
    let mut required = vec!["type"];
    for (name, schema) in properties {
        let bare = name.trim_start_matches('?');
        if bare == *name {
            required.push(bare);
        }
        all.insert(bare.to_owned(), schema.clone());
    }
    json!({ "type": "object", "properties": all, "required": required })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let flag = || json!({ "type": "boolean" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let list = |of: Value| json!({ "type": "array", "items": of });
    let position = || reference("position");
    let room = || ("room", text());
    let counters = [
        "uptime_ms",
        "workers",
        "connections",
        "sessions",
        "sessions_dropped",
        "rooms",
        "seats",
        "events_total",
        "deliveries_total",
    ];
    let mut info: Vec<_> = counters.map(|name| (name, number())).to_vec();
    info.extend([("version", text()), ("draining", flag())]);
    json!({
        "created": answer("created", &[room(), ("created", flag())]),
        "delivered": answer("ok", &[("delivered", number())]),
        "error": answer("error", &[
            ("code", number()), ("reason", text()), ("message", text()), ("retry", flag()),
            ("?retry_ms", number()),
        ]),
        "history": answer("history", &[
            room(), ("position", position()), ("?recovered", flag()), ("?reason", text()),
            ("events", list(json!({ "type": "object" }))),
        ]),
        "info": answer("info", &info),
        "members": answer("members", &[
            room(), ("members", list(json!({ "type": "object" }))), ("truncated", flag()),
        ]),
        "ok": answer("ok", &[]),
        "position": {
            "type": "object",
            "properties": {
                "epoch": { "type": "string", "pattern": "^[A-Za-z0-9_-]{8}$" },
                "offset": number(),
            },
            "required": ["epoch", "offset"],
            "additionalProperties": false,
        },
        "presence": answer("presence", &[room(), ("members", number()), ("users", number())]),
        "published": answer("ok", &[("?position", position())]),
        "room": answer("room", &[
            room(), ("members", number()), ("position", position()), ("permanent", flag()),
            ("creator", json!({ "type": ["string", "null"] })),
            ("options", json!({ "type": "object" })),
        ]),
        "rooms": answer("rooms", &[
            ("rooms", list(json!({
                "type": "object",
                "properties": { "room": text(), "members": number() },
                "required": ["room", "members"],
            }))),
            ("truncated", flag()),
        ]),
        "seated": answer("ok", &[("new", flag())]),
    })
}
