// SPDX-License-Identifier: Apache-2.0
// The tools as tables: what tools/list describes is what arguments are checked by.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/seed/actions.h"
#include "async/task.h"
#include "base/result.h"
#include "http/message.h"
#include "json/reader.h"
#include "json/writer.h"

namespace atl::api::mcp {

enum class Type : uint8_t {
  kText,     // without NUL
  kContent,  // any text
  kInteger,  // within [min, max]
  kBoolean,
  kTextList,
};

struct Argument {
  std::string_view name;
  Type type = Type::kText;
  std::string_view about;
  bool required = false;
  int64_t min = 0;
  int64_t max = std::numeric_limits<int32_t>::max();
};

struct Call {
  const Services& services;
  const http::RequestHead& request;
  std::string sandbox;  // empty for tools that are of none
  bool scoped = false;  // the client sees this sandbox alone
  json::Object arguments;
  sandbox::Waited* waited = nullptr;  // outlives the call
};

struct Output {
  std::string text;
  std::string structured;  // a JSON object
};

struct Tool {
  std::string_view name;
  std::string_view title;
  std::string_view about;
  std::span<const Argument> arguments;  // besides `sandbox`
  async::Task<Result<Output>> (*handler)(Call call) = nullptr;
  bool read_only = false;
  bool destructive = false;
  bool of_sandbox = true;  // false: of all of them; not offered for one
  bool all_only = false;   // of one of them, and not offered for one all the same
};

std::span<const Tool> FileTools();
std::span<const Tool> CommandTools();
std::span<const Tool> SandboxTools();

// What a client of one sandbox, or of all, may use.
std::vector<const Tool*> ToolsFor(bool scoped);

void WriteTool(json::Writer& writer, const Tool& tool, bool scoped);
// VALIDATION_FAILED for what the tool's schema does not allow.
Result<void> CheckArguments(const Tool& tool, bool scoped, const json::Object& arguments);

// Arguments that were checked.
std::string Text(const Call& call, std::string_view name, std::string_view otherwise = {});
int64_t Integer(const Call& call, std::string_view name, int64_t otherwise);
bool Flag(const Call& call, std::string_view name, bool otherwise = false);
std::vector<std::string> TextList(const Call& call, std::string_view name);

// A sandbox to work with.
async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> Acquire(const Call& call);

}  // namespace atl::api::mcp
