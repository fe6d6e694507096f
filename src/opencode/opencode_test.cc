// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "json/reader.h"
#include "opencode/launch.h"
#include "opencode/server.h"

namespace atl::opencode {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LandingPathTest, IsBase64UrlWithoutPadding) {
  EXPECT_EQ(LandingPath("/workspace"), "/L3dvcmtzcGFjZQ/session");
  EXPECT_EQ(LandingPath("/a?~"), "/L2E_fg/session");
}

TEST(ConfigContentTest, AnthropicGoesThroughTheGateway) {
  std::string config = ConfigContent({.provider = Options::Provider::kAnthropic});
  ASSERT_TRUE(json::Object::Parse(config)) << config;
  EXPECT_THAT(config, HasSubstr(R"("model":"anthropic/claude-sonnet-4-5")"));
  EXPECT_THAT(config, HasSubstr(R"("enabled_providers":["anthropic"])"));
  EXPECT_THAT(config, HasSubstr(R"("npm":"@ai-sdk/anthropic")"));
  EXPECT_THAT(config, HasSubstr(R"("baseURL":"http://gateway.atoll/v1")"));
  EXPECT_THAT(config, HasSubstr(R"("claude-haiku-4-5":{)"));
  EXPECT_THAT(config, HasSubstr(R"("share":"disabled")"));
  EXPECT_THAT(config, HasSubstr(R"("autoupdate":false)"));
  EXPECT_THAT(config, HasSubstr(R"("permission":"allow")"));
}

TEST(ConfigContentTest, OpenAiCompatibleUsesTheNamedModel) {
  std::string config =
      ConfigContent({.provider = Options::Provider::kOpenAi, .model = "qwen/qwen3 \"x\""});
  ASSERT_TRUE(json::Object::Parse(config)) << config;
  EXPECT_THAT(config, HasSubstr(R"("model":"gateway/qwen/qwen3 \"x\"")"));
  EXPECT_THAT(config, HasSubstr(R"("npm":"@ai-sdk/openai-compatible")"));
}

TEST(ConfigContentTest, WithoutAKeyNobodyElseIsEnabled) {
  std::string config = ConfigContent({});
  EXPECT_THAT(config, HasSubstr(R"("enabled_providers":["gateway"])"));
  EXPECT_THAT(config, HasSubstr("No model key"));
  EXPECT_THAT(config, Not(HasSubstr(R"("opencode")")));
}

TEST(ServerSpecTest, StartsInTheWorkspaceWithAPrivateTemporaryDirectory) {
  sandbox::SpawnSpec spec = ServerSpec({});
  EXPECT_EQ(spec.cwd, "/workspace");
  EXPECT_THAT(spec.argv[2], HasSubstr("--hostname 127.0.0.1 --port 4096"));
  EXPECT_THAT(spec.env, ::testing::Contains(::testing::Pair("TMPDIR", "/run/oc-tmp")));
}

}  // namespace
}  // namespace atl::opencode
