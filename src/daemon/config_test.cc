// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "sys/fd.h"

namespace atl::daemon {
namespace {

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-config-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { (void)sys::RemoveTree(dir_); }

  Result<Config> Load(std::string_view text) {
    std::string file = dir_ + "/atoll.toml";
    EXPECT_TRUE(sys::WriteFile(file, text).has_value());
    return LoadConfig(file, [this](const std::string& name) -> std::optional<std::string> {
      auto found = environment_.find(name);
      return found == environment_.end() ? std::nullopt : std::optional(found->second);
    });
  }

  std::string dir_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ConfigTest, DefaultsHoldWithoutAFile) {
  Config config = Load("").value();
  EXPECT_EQ(config.listen[0], "127.0.0.1:8787");
  EXPECT_EQ(config.state_dir, "/var/lib/atoll");
  EXPECT_EQ(config.images_dir, "/var/lib/atoll/images");
  EXPECT_EQ(config.model.upstream.protocol, egress::ModelOptions::Protocol::kNone);
}

TEST_F(ConfigTest, TheEnvironmentGoesBeforeTheFile) {
  environment_["ATOLL_STATE_DIR"] = "/elsewhere";
  environment_["ATOLL_SANDBOX_MEMORY"] = "1G";
  environment_["ATOLL_EGRESS_HOST_PORTS"] = "3000, 4000";
  Config config = Load("state_dir = \"/here\"\n[sandbox]\nmemory = \"2G\"\ncpus = 1.5\n").value();
  EXPECT_EQ(config.state_dir, "/elsewhere");
  EXPECT_EQ(config.memory_bytes, 1ULL << 30U);
  EXPECT_EQ(config.cpus, 1.5);
  EXPECT_EQ(config.host_ports, (std::vector<uint16_t>{3000, 4000}));
}

TEST_F(ConfigTest, Limits) {
  LimitsConfig none = Load("").value().limits;
  EXPECT_EQ(none.disk_bytes, 0U);
  EXPECT_FALSE(none.admission.disk_reserve);
  LimitsConfig limits =
      Load(
          "[limits]\ndisk = \"2G\"\ninodes = 5000\nopen_files = 1024\nweight = 10\n"
          "max_sandboxes = 7\ndisk_reserve = 0\nmemory_reserve = \"1G\"\n"
          "memory_overcommit = 1.5\ndisk_overcommit = 2\nmemory_pressure = 0\n")
          .value()
          .limits;
  EXPECT_EQ(limits.disk_bytes, 2ULL << 30U);
  EXPECT_EQ(limits.inodes, 5000U);
  EXPECT_EQ(limits.open_files, 1024U);
  EXPECT_EQ(limits.weight, 10U);
  EXPECT_EQ(limits.admission.max_sandboxes, 7U);
  EXPECT_EQ(limits.admission.disk_reserve, 0U);
  EXPECT_EQ(limits.admission.memory_reserve, 1ULL << 30U);
  EXPECT_EQ(limits.admission.overcommit, 1.5);
  EXPECT_EQ(limits.admission.disk_overcommit, 2);
  for (const char* bad :
       {"disk = \"lots\"", "weight = 0", "max_sandboxes = -1", "open_files = 3"}) {
    EXPECT_FALSE(Load(std::string("[limits]\n") + bad + "\n")) << bad;
  }
}

TEST_F(ConfigTest, WhatIsWrongIsNamed) {
  for (const auto& [text, named] :
       std::map<std::string, std::string>{{"liste = []\n", "liste"},
                                          {"[sandbox]\nmemory = \"lots\"\n", "memory"},
                                          {"[sandbox]\ncpus = \"two\"\n", "cpus"},
                                          {"[egress]\nhost_ports = [70000]\n", "host_ports"},
                                          {"[model]\nprovider = \"x\"\n", "provider"},
                                          {"[sandbox\n", "atoll.toml:"},
                                          {"domain = \"a b\"\n", "domain"},
                                          {"domain = \"x.opencode.ai\"\n", "opencode.ai"},
                                          {"state_dir = \"here\"\n", "state_dir"}}) {
    Result<Config> config = Load(text);
    ASSERT_FALSE(config.has_value()) << text;
    EXPECT_NE(config.error().message.find(named), std::string::npos) << config.error().message;
  }
}

TEST_F(ConfigTest, AnAnthropicKeyIsEnough) {
  environment_["ANTHROPIC_API_KEY"] = "sk-test";
  Config config = Load("").value();
  EXPECT_EQ(config.model.upstream.protocol, egress::ModelOptions::Protocol::kAnthropic);
  EXPECT_EQ(config.model.upstream.base_url, "https://api.anthropic.com");
  EXPECT_EQ(config.model.model, "claude-sonnet-4-5");
}

TEST_F(ConfigTest, AnAddressMeansOpenAiCompatible) {
  Config config =
      Load("[model]\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"k\"\nmodel = \"m\"\n")
          .value();
  EXPECT_EQ(config.model.upstream.protocol, egress::ModelOptions::Protocol::kOpenAi);
  EXPECT_EQ(config.model.small_model, "m");
}

TEST_F(ConfigTest, OnlyLoopbackIsListenedOn) {
  Config config;
  EXPECT_EQ(ListenEndpoints(config)->size(), 2U);
  for (const char* bad : {"0.0.0.0:8787", "[::]:8787", "192.168.1.1:80", "nonsense"}) {
    config.listen = {bad};
    EXPECT_FALSE(ListenEndpoints(config).has_value()) << bad;
  }
}

TEST(DevVarsTest, ReadsLinesCommentsQuotesAndExport) {
  auto variables = ParseDevVars("# keys\nA=1\n\nexport B=\"two words\"\r\nC = 'x'\nbroken\nD=a=b");
  std::vector<std::pair<std::string, std::string>> expected = {
      {"A", "1"}, {"B", "two words"}, {"C", "x"}, {"D", "a=b"}};
  EXPECT_EQ(variables, expected);
}

}  // namespace
}  // namespace atl::daemon
