// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/mcp/tool.h"

namespace atl::api::mcp {
namespace {

constexpr Argument kSandbox{
    .name = "sandbox", .about = "The id of the sandbox to work in.", .required = true};

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

bool TakesSandbox(const Tool& tool, bool scoped) { return tool.of_sandbox && !scoped; }

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kInteger:
      return "integer";
    case Type::kBoolean:
      return "boolean";
    case Type::kTextList:
      return "array";
    case Type::kText:
    case Type::kContent:
      break;
  }
  return "string";
}

void WriteArgument(json::Writer& writer, const Argument& argument) {
  writer.Key(argument.name).BeginObject().Field("type", TypeName(argument.type));
  writer.Field("description", argument.about);
  if (argument.type == Type::kInteger) {
    writer.Field("minimum", argument.min).Field("maximum", argument.max);
  }
  if (argument.type == Type::kTextList) {
    writer.Key("items").BeginObject().Field("type", "string").EndObject();
  }
  writer.EndObject();
}

Result<void> CheckType(const Argument& argument, const json::Object& arguments) {
  switch (argument.type) {
    case Type::kText:
      TRY(arguments.OptionalText(argument.name));
      break;
    case Type::kContent:
      TRY(arguments.OptionalString(argument.name));
      break;
    case Type::kInteger:
      TRY(arguments.OptionalInt(argument.name, {.min = argument.min, .max = argument.max}));
      break;
    case Type::kBoolean:
      TRY(arguments.OptionalBool(argument.name));
      break;
    case Type::kTextList:
      TRY(arguments.OptionalTextList(argument.name));
      break;
  }
  if (argument.required && !arguments.Has(argument.name)) {
    return Invalid(fmt::format("\"{}\" is missing", argument.name));
  }
  return {};
}

}  // namespace

std::vector<const Tool*> ToolsFor(bool scoped) {
  std::vector<const Tool*> tools;
  for (std::span<const Tool> part : {CommandTools(), FileTools(), SandboxTools()}) {
    for (const Tool& tool : part) {
      if (!scoped || (tool.of_sandbox && !tool.all_only)) tools.push_back(&tool);
    }
  }
  return tools;
}

void WriteTool(json::Writer& writer, const Tool& tool, bool scoped) {
  writer.BeginObject().Field("name", tool.name).Field("title", tool.title);
  writer.Field("description", tool.about).Key("inputSchema").BeginObject().Field("type", "object");
  writer.Key("properties").BeginObject();
  if (TakesSandbox(tool, scoped)) WriteArgument(writer, kSandbox);
  for (const Argument& argument : tool.arguments) WriteArgument(writer, argument);
  writer.EndObject().Key("required").BeginArray();
  if (TakesSandbox(tool, scoped)) writer.String(kSandbox.name);
  for (const Argument& argument : tool.arguments) {
    if (argument.required) writer.String(argument.name);
  }
  writer.EndArray().Field("additionalProperties", false).EndObject();
  writer.Key("annotations").BeginObject().Field("title", tool.title);
  writer.Field("readOnlyHint", tool.read_only).Field("destructiveHint", tool.destructive);
  writer.EndObject().EndObject();
}

Result<void> CheckArguments(const Tool& tool, bool scoped, const json::Object& arguments) {
  if (TakesSandbox(tool, scoped)) TRY(CheckType(kSandbox, arguments));
  for (const Argument& argument : tool.arguments) TRY(CheckType(argument, arguments));
  for (const std::string& name : arguments.Names()) {
    if (TakesSandbox(tool, scoped) && name == kSandbox.name) continue;
    if (std::ranges::find(tool.arguments, name, &Argument::name) == tool.arguments.end()) {
      return Invalid(fmt::format("{} has no argument \"{:.64}\"", tool.name, name));
    }
  }
  return {};
}

std::string Text(const Call& call, std::string_view name, std::string_view otherwise) {
  auto text = call.arguments.OptionalString(name);
  return text && *text ? **std::move(text) : std::string(otherwise);
}

int64_t Integer(const Call& call, std::string_view name, int64_t otherwise) {
  auto number = call.arguments.OptionalInt(name, {});
  return number ? number->value_or(otherwise) : otherwise;
}

bool Flag(const Call& call, std::string_view name, bool otherwise) {
  auto flag = call.arguments.OptionalBool(name);
  return flag ? flag->value_or(otherwise) : otherwise;
}

std::vector<std::string> TextList(const Call& call, std::string_view name) {
  auto list = call.arguments.OptionalTextList(name);
  return list && *list ? **std::move(list) : std::vector<std::string>();
}

async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> Acquire(const Call& call) {
  return call.services.registry.Acquire(call.sandbox, call.waited);
}

}  // namespace atl::api::mcp
