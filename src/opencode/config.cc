// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "json/writer.h"
#include "opencode/server.h"

namespace atl::opencode {
namespace {

constexpr std::string_view kGatewayUrl = "http://gateway.atoll/v1";
// The daemon puts the real key in its place on the way out. Empty would count as "no key".
constexpr std::string_view kPlaceholderKey = "added-by-atoll";

struct Model {
  std::string id;
  std::string name;  // empty: the id
  int64_t context = 0;
  int64_t output = 0;
};

struct Provider {
  std::string_view id;
  std::string_view name;
  std::string_view package;  // one that is bundled with OpenCode: others are fetched from npm
  Model model;
  Model small_model;
};

std::string Or(const std::string& value, std::string_view fallback) {
  return value.empty() ? std::string(fallback) : value;
}

Provider Describe(const Options& options) {
  switch (options.provider) {
    case Options::Provider::kAnthropic:
      return {.id = "anthropic",
              .name = "Anthropic",
              .package = "@ai-sdk/anthropic",
              .model = {.id = Or(options.model, "claude-sonnet-4-5"),
                        .context = 200'000,
                        .output = 32'000},
              .small_model = {.id = Or(options.small_model, "claude-haiku-4-5"),
                              .context = 200'000,
                              .output = 32'000}};
    case Options::Provider::kOpenAi: {
      std::string model = Or(options.model, "gpt-5");
      return {.id = "gateway",
              .name = "Model gateway",
              .package = "@ai-sdk/openai-compatible",
              .model = {.id = model, .context = 128'000, .output = 16'000},
              .small_model = {
                  .id = Or(options.small_model, model), .context = 128'000, .output = 16'000}};
    }
    case Options::Provider::kNone:
      break;
  }
  // A prompt gets the gateway's answer, which says what is missing; the names here say it before.
  Model none = {.id = "none",
                .name = "No model key: set ANTHROPIC_API_KEY for Atoll",
                .context = 128'000,
                .output = 16'000};
  return {.id = "gateway",
          .name = "No API key yet",
          .package = "@ai-sdk/openai-compatible",
          .model = none,
          .small_model = none};
}

void WriteModel(json::Writer& writer, const Model& model) {
  writer.Key(model.id).BeginObject();
  writer.Field("name", model.name.empty() ? model.id : model.name).Field("tool_call", true);
  writer.Key("limit").BeginObject();
  writer.Field("context", model.context).Field("output", model.output).EndObject().EndObject();
}

}  // namespace

std::string ConfigContent(const Options& options) {
  Provider provider = Describe(options);
  std::string prefix = std::string(provider.id) + "/";
  json::Writer writer;
  writer.BeginObject();
  writer.Field("autoupdate", false).Field("share", "disabled").Field("permission", "allow");
  writer.Field("model", prefix + provider.model.id);
  writer.Field("small_model", prefix + provider.small_model.id);
  writer.Key("enabled_providers").BeginArray().String(provider.id).EndArray();
  writer.Key("provider").BeginObject().Key(provider.id).BeginObject();
  writer.Field("npm", provider.package).Field("name", provider.name);
  writer.Key("options").BeginObject();
  writer.Field("baseURL", kGatewayUrl).Field("apiKey", kPlaceholderKey).EndObject();
  writer.Key("models").BeginObject();
  WriteModel(writer, provider.model);
  if (provider.small_model.id != provider.model.id) WriteModel(writer, provider.small_model);
  writer.EndObject().EndObject().EndObject().EndObject();
  return writer.Take();
}

std::string LandingPath(std::string_view dir) {
  std::string encoded;
  json::AppendBase64(encoded, dir);
  std::erase(encoded, '=');
  std::ranges::replace(encoded, '+', '-');
  std::ranges::replace(encoded, '/', '_');
  return "/" + encoded + "/session";
}

std::string_view StatusName(Status status) {
  switch (status) {
    case Status::kStopped:
      return "stopped";
    case Status::kStarting:
      return "starting";
    case Status::kReady:
      return "ready";
    case Status::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace atl::opencode
