// SPDX-License-Identifier: Apache-2.0
#include "agent/configure.h"

#include <sys/stat.h>

#include <cstdio>

#include "agent/agent_fixture_test.h"

namespace atl::agent {
namespace {

class ConfigureTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-configure-test-XXXXXX";
    dir_ = mkdtemp(name);
    places_ = {.hosts = dir_ / "hosts", .env_dir = dir_ / "run"};
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void WriteHosts(const std::string& text) { std::ofstream(places_.hosts) << text; }
  std::string env_file() const { return places_.env_dir + "/" + places_.env_file; }

  std::filesystem::path dir_;
  ConfigurePlaces places_;
};

TEST_F(ConfigureTest, TheAgentsOwnLineGetsTheNewName) {
  WriteHosts("127.0.0.1 localhost\n127.0.1.1 sandbox\n10.0.0.1 sandbox other\n");
  auto done = RunConfigure({.hostname = "demo", .former = "sandbox"}, places_);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(Slurp(places_.hosts), "127.0.0.1 localhost\n127.0.1.1 demo\n10.0.0.1 sandbox other\n");
  EXPECT_FALSE(std::filesystem::exists(env_file()));
}

TEST_F(ConfigureTest, ATableWithoutTheLineGetsOne) {
  WriteHosts("127.0.0.1 localhost");
  ASSERT_TRUE(RunConfigure({.hostname = "demo", .former = "sandbox"}, places_));
  ASSERT_TRUE(RunConfigure({.hostname = "demo", .former = "demo"}, places_));
  EXPECT_EQ(Slurp(places_.hosts), "127.0.0.1 localhost\n127.0.1.1 demo\n");
}

TEST_F(ConfigureTest, ASymlinkIsNotFollowed) {
  std::ofstream(dir_ / "target") << "kept\n";
  std::filesystem::create_symlink(dir_ / "target", places_.hosts);
  ASSERT_TRUE(RunConfigure({.hostname = "demo", .former = "sandbox"}, places_));
  EXPECT_EQ(Slurp(dir_ / "target"), "kept\n");
}

TEST_F(ConfigureTest, ShellsReadTheEnvironmentAsItIs) {
  std::string value = "it's $HOME `id` \"quoted\"\n\\end";
  ASSERT_TRUE(RunConfigure(
      {.hostname = "demo", .former = "sandbox", .env = {{"GREETING", value}, {"EMPTY", ""}}},
      places_));
  std::string command =
      "BASH_ENV='" + env_file() + "' bash -c 'printf \"%s|%s\" \"$GREETING\" \"${EMPTY-unset}\"'";
  FILE* pipe = popen(command.c_str(), "re");
  ASSERT_NE(pipe, nullptr);
  std::string out(1000, '\0');
  out.resize(fread(out.data(), 1, out.size(), pipe));
  pclose(pipe);
  EXPECT_EQ(out, value + "|");
  struct stat info{};
  ASSERT_EQ(stat(env_file().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

}  // namespace
}  // namespace atl::agent
