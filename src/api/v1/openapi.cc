// SPDX-License-Identifier: Apache-2.0
#include "api/v1/openapi.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "api/v1/answers/common.h"
#include "json/writer.h"

namespace atl::api {
namespace {

void WriteBounds(json::Writer& writer, const Field& field) {
  if (field.min != std::numeric_limits<double>::lowest()) writer.Field("minimum", field.min);
  if (field.max != std::numeric_limits<double>::max()) writer.Field("maximum", field.max);
}

// A member that is null counts as one that is not there.
void WriteType(json::Writer& writer, std::string_view type, bool required) {
  if (required) {
    writer.Field("type", type);
  } else {
    writer.Key("type").BeginArray().String(type).String("null").EndArray();
  }
}

void WriteSchema(json::Writer& writer, const Field& field, bool required) {
  writer.BeginObject();
  switch (field.kind) {
    case Kind::kText:
    case Kind::kPath:
      WriteType(writer, "string", required);
      break;
    case Kind::kInteger:
      WriteType(writer, "integer", required);
      break;
    case Kind::kNumber:
      WriteType(writer, "number", required);
      break;
    case Kind::kBoolean:
      WriteType(writer, "boolean", required);
      break;
    case Kind::kTextMap:
      WriteType(writer, "object", required);
      writer.Key("additionalProperties").BeginObject().Field("type", "string").EndObject();
      break;
    case Kind::kTextList:
      WriteType(writer, "array", required);
      writer.Key("items").BeginObject().Field("type", "string").EndObject();
      break;
    case Kind::kObject:
      WriteType(writer, "object", required);
      break;
    case Kind::kBytes:
      writer.Key("type").BeginArray().String("integer").String("string");
      if (!required) writer.String("null");
      writer.EndArray();
      break;
    case Kind::kAny:
      break;
  }
  WriteBounds(writer, field);
  if (!field.choices.empty()) {
    writer.Key("enum").BeginArray();
    for (std::string_view choice : field.choices) writer.String(choice);
    writer.EndArray();
  }
  if (!field.about.empty()) writer.Field("description", field.about);
  writer.EndObject();
}

void WriteParameter(json::Writer& writer, const Field& field, std::string_view place) {
  bool required = field.required || place == "path";
  writer.BeginObject().Field("name", field.name).Field("in", place).Field("required", required);
  if (!field.about.empty()) writer.Field("description", field.about);
  Field schema = field;
  schema.about = {};
  bool json = field.kind == Kind::kTextMap;
  if (json) writer.Key("content").BeginObject().Key("application/json").BeginObject();
  writer.Key("schema");
  WriteSchema(writer, schema, true);
  if (json) writer.EndObject().EndObject();
  writer.EndObject();
}

// "{name...}" as OpenAPI writes it: "{name}".
std::string PathOf(std::string_view pattern) {
  std::string path(pattern);
  if (size_t dots = path.find("...}"); dots != std::string::npos) path.erase(dots, 3);
  return path;
}

void WriteParameters(json::Writer& writer, const Route& route) {
  writer.Key("parameters").BeginArray();
  std::string path = PathOf(route.pattern);
  for (size_t at = path.find('{'); at != std::string::npos; at = path.find('{', at + 1)) {
    std::string name = path.substr(at + 1, path.find('}', at) - at - 1);
    WriteParameter(writer, {.name = name}, "path");
  }
  for (const Field& field : route.query) WriteParameter(writer, field, "query");
  for (const Field& field : route.headers) WriteParameter(writer, field, "header");
  writer.EndArray();
}

void WriteObjectSchema(json::Writer& writer, std::span<const Field> fields, bool required,
                       bool open) {
  writer.BeginObject().Field("type", "object").Key("properties").BeginObject();
  for (const Field& field : fields) {
    writer.Key(field.name);
    WriteSchema(writer, field, field.required);
  }
  writer.EndObject();
  if (!open) writer.Field("additionalProperties", false);
  if (required) {
    writer.Key("required").BeginArray();
    for (const Field& field : fields) {
      if (field.required) writer.String(field.name);
    }
    writer.EndArray();
  }
  writer.EndObject();
}

void WriteBody(json::Writer& writer, const Route& route) {
  if (route.answer == Media::kWebSocket && !route.fields.empty()) {
    // OpenAPI has no word for it.
    writer.Key("x-first-message");
    WriteObjectSchema(writer, route.fields, false, false);
  }
  if (route.body == Media::kNone) return;
  bool required = std::ranges::any_of(route.fields, &Field::required);
  writer.Key("requestBody").BeginObject().Field("required", required).Key("content").BeginObject();
  if (route.body == Media::kOctets) {
    writer.Key("application/octet-stream").BeginObject().EndObject();
  } else {
    writer.Key("application/json").BeginObject().Key("schema");
    WriteObjectSchema(writer, route.fields, required, route.errors != nullptr);
    writer.EndObject();
  }
  writer.EndObject().EndObject();
}

void BeginContent(json::Writer& writer, std::string_view type) {
  writer.Key(type).BeginObject().Key("schema");
}

void WriteContent(json::Writer& writer, const Route& route) {
  constexpr std::string_view kAnyBytes[] = {"application/octet-stream"};
  writer.Key("content").BeginObject();
  if (route.returns != nullptr) {
    BeginContent(writer, "application/json");
    WriteShape(writer, *route.returns);
    writer.EndObject();
  }
  if (route.answer == Media::kEvents) {
    BeginContent(writer, "text/event-stream");
    writer.BeginObject().Field("type", "string").EndObject();
    if (route.streams != nullptr) {
      // As OpenAPI 3.2 has it: what the data of each event is.
      writer.Key("x-itemSchema");
      WriteShape(writer, *route.streams);
    }
    writer.EndObject();
  }
  std::span<const std::string_view> types = route.media;
  if (types.empty() && route.answer == Media::kOctets) types = kAnyBytes;
  for (std::string_view type : types) {
    // Bytes have no schema.
    writer.Key(type).BeginObject().EndObject();
  }
  writer.EndObject();
}

std::string_view MeaningOf(int status) {
  switch (status) {
    case 101:
      return "A WebSocket";
    case 201:
      return "Made";
    case 202:
      return "Taken";
    case 206:
      return "The range that was asked for";
    case 304:
      return "It is as the client knows it";
    default:
      return "Done";
  }
}

int UsualStatus(Media answer) {
  if (answer == Media::kNone) return 204;
  return answer == Media::kWebSocket ? 101 : 200;
}

constexpr std::string_view kRequestIdName = "X-Request-Id";
constexpr std::string_view kRequestIdPlace = "#/components/headers/RequestId";

void WriteHeaders(json::Writer& writer, std::span<const Field> headers) {
  writer.Key("headers").BeginObject();
  writer.Key(kRequestIdName).BeginObject().Field("$ref", kRequestIdPlace).EndObject();
  for (const Field& field : headers) {
    writer.Key(field.name).BeginObject().Field("description", field.about);
    writer.Key("schema").BeginObject().Field("type", "string").EndObject().EndObject();
  }
  writer.EndObject();
}

void WriteSuccess(json::Writer& writer, const Route& route, int status) {
  writer.Key(std::to_string(status)).BeginObject().Field("description", MeaningOf(status));
  WriteHeaders(writer, route.answer_headers);
  bool empty = status == 101 || status == 202 || status == 204 || status == 304;
  if (!empty) WriteContent(writer, route);
  writer.EndObject();
}

void WriteResponses(json::Writer& writer, const Route& route) {
  writer.Key("responses").BeginObject();
  WriteSuccess(writer, route, UsualStatus(route.answer));
  for (int status : route.statuses) WriteSuccess(writer, route, status);
  std::string errors = "#/components/responses/";
  errors += route.errors != nullptr ? route.errors->shape->name : answers::kError.name;
  writer.Key("default").BeginObject().Field("$ref", errors).EndObject();
  writer.EndObject();
}

void WriteOperation(json::Writer& writer, const Route& route) {
  std::string method(route.method);
  std::ranges::transform(method, method.begin(),
                         [](char c) { return static_cast<char>(c - 'A' + 'a'); });
  writer.Key(method).BeginObject().Field("operationId", route.operation);
  writer.Field("summary", route.summary);
  WriteParameters(writer, route);
  WriteBody(writer, route);
  WriteResponses(writer, route);
  writer.EndObject();
}

using NamedShapes = std::map<std::string_view, const Shape*>;

// Of the API itself, and of every dialect that has its own.
NamedShapes ErrorsOf(const RouteTable& table) {
  NamedShapes all{{answers::kError.name, &answers::kError}};
  for (const Route& route : table.routes()) {
    if (route.errors != nullptr) all.emplace(route.errors->shape->name, route.errors->shape);
  }
  return all;
}

NamedShapes ShapesOf(const RouteTable& table) {
  NamedShapes all;
  for (const auto& [name, shape] : ErrorsOf(table)) AddNamedShapes(*shape, all);
  for (const Route& route : table.routes()) {
    if (route.returns != nullptr) AddNamedShapes(*route.returns, all);
    if (route.streams != nullptr) AddNamedShapes(*route.streams, all);
  }
  return all;
}

void WriteErrorResponse(json::Writer& writer, const Shape& shape) {
  constexpr Field kRetryAfter[] = {
      {.name = "Retry-After", .about = "Of 503: in how many seconds it may be otherwise."}};
  writer.BeginObject().Field("description", "What was tried and why it failed");
  WriteHeaders(writer, kRetryAfter);
  writer.Key("content").BeginObject();
  BeginContent(writer, "application/json");
  WriteShape(writer, shape);
  writer.EndObject().EndObject().EndObject();
}

void WriteComponents(json::Writer& writer, const RouteTable& table) {
  writer.Key("components").BeginObject().Key("schemas").BeginObject();
  for (const auto& [name, shape] : ShapesOf(table)) {
    writer.Key(name);
    WriteNamedShape(writer, *shape);
  }
  writer.EndObject().Key("responses").BeginObject();
  for (const auto& [name, shape] : ErrorsOf(table)) {
    writer.Key(name);
    WriteErrorResponse(writer, *shape);
  }
  writer.EndObject().Key("headers").BeginObject().Key("RequestId").BeginObject();
  writer.Field("description", "Names the request, in the daemon's log and in errors, too.");
  writer.Key("schema").BeginObject().Field("type", "string").EndObject();
  writer.EndObject().EndObject().EndObject();
}

async::Task<> SendOpenApi(const Services& services, Values /*values*/, http::Exchange& exchange) {
  co_await RespondResult(exchange, services.openapi);
}

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/openapi.json",
     .operation = "getOpenApi",
     .summary = "This description.",
     .handler = SendOpenApi,
     .returns = &kAnyObject},
    {.method = "GET",
     .pattern = "/v1/openapi",
     .operation = "bridgeGetOpenApi",
     .summary = "Bridge: the same description.",
     .handler = SendOpenApi,
     .returns = &kAnyObject},
};

}  // namespace

std::span<const Route> OpenApiRoutes() { return kRoutes; }

std::string OpenApiJson(const RouteTable& table) {
  json::Writer writer;
  writer.BeginObject().Field("openapi", "3.1.0");
  writer.Key("info").BeginObject().Field("title", "Atoll").Field("version", "1");
  writer.Field("description", "Linux sandboxes for coding agents.").EndObject();
  writer.Key("paths").BeginObject();
  std::vector<Route> routes = table.routes();
  std::ranges::sort(routes, {},
                    [](const Route& route) { return std::pair(route.pattern, route.method); });
  std::string_view path;
  for (const Route& route : routes) {
    if (route.pattern != path) {
      if (!path.empty()) writer.EndObject();
      path = route.pattern;
      writer.Key(PathOf(path)).BeginObject();
    }
    WriteOperation(writer, route);
  }
  if (!path.empty()) writer.EndObject();
  writer.EndObject();
  WriteComponents(writer, table);
  writer.EndObject();
  return writer.Take();
}

}  // namespace atl::api
