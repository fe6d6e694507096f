// SPDX-License-Identifier: Apache-2.0
#include "sandbox/git_clone.h"

#include <gtest/gtest.h>

#include "sandbox/run.h"

namespace atl::sandbox {
namespace {

TEST(ValidateRepoUrlTest, OnlyHttpHttpsAndSsh) {
  for (const char* good : {"https://github.com/a/b.git", "http://host:8080/x", "HTTPS://h/x",
                           "https://u:p@h/x", "http://[::1]:80/x.git", "https://h/~user/x?y=1",
                           "ssh://git@h:22/x", "ssh://h/x", "git@github.com:a/b", "git@h:b"}) {
    EXPECT_TRUE(ValidateRepoUrl(good)) << good;
  }
  for (const char* bad : {"",
                          "-u",
                          "--upload-pack=x",
                          "file:///etc",
                          "ext::sh -c id",
                          "h:a/b",
                          "a/b@c:d",
                          "-a@b:c",
                          "a@-b:c",
                          "a@b:",
                          "a@:c",
                          "ssh://-oX/x",
                          "ssh://-oX@h/x",
                          "/workspace",
                          "https:/h/x",
                          "https://",
                          "https:///x",
                          "https://u@/x",
                          "https://:80/x",
                          "https://h/a b",
                          "https://h/a\nb",
                          "https://h\\x/",
                          "https://-oProxy/x",
                          "ftp://h/x",
                          "git://h/x"}) {
    Result<void> result = ValidateRepoUrl(bad);
    ASSERT_FALSE(result) << bad;
    EXPECT_EQ(result.error().reason, "INVALID_GIT_URL") << bad;
  }
  EXPECT_FALSE(ValidateRepoUrl(std::string("https://h/a\0b", 13)));
  EXPECT_FALSE(ValidateRepoUrl("https://h/" + std::string(2048, 'a')));
}

TEST(NameFromUrlTest, IsWhatGitWouldChoose) {
  EXPECT_EQ(NameFromUrl("https://h/a/b.git").value(), "b");
  EXPECT_EQ(NameFromUrl("https://h/a/b").value(), "b");
  EXPECT_EQ(NameFromUrl("https://h/a/b/").value(), "b");
  EXPECT_EQ(NameFromUrl("https://h/a/b/.git/").value(), "b");
  EXPECT_EQ(NameFromUrl("https://h/a/b.git?x=/y#z").value(), "b");
  EXPECT_EQ(NameFromUrl("git@h:a/b.git").value(), "b");
  EXPECT_EQ(NameFromUrl("git@h:b").value(), "b");
  EXPECT_EQ(NameFromUrl("ssh://git@h:22/a/b.git").value(), "b");
  for (const char* bad : {"https://h", "https://h/", "https://h//", "https://h/.git",
                          "https://h/a/..", "https://h/a/...git"}) {
    Result<std::string> name = NameFromUrl(bad);
    EXPECT_TRUE(!name || (*name != ".." && *name != "." && !name->empty())) << bad;
  }
  EXPECT_FALSE(NameFromUrl("https://h/"));
}

TEST(NormalizeDirTest, IsAbsoluteAndPlain) {
  EXPECT_EQ(NormalizeDir("/workspace/a").value(), "/workspace/a");
  EXPECT_EQ(NormalizeDir("/workspace//a/./b/../c/").value(), "/workspace/a/c");
  EXPECT_EQ(NormalizeDir("/../..").value(), "/");
  EXPECT_FALSE(NormalizeDir("workspace"));
  EXPECT_FALSE(NormalizeDir(""));
  EXPECT_FALSE(NormalizeDir("/a\nb"));
  EXPECT_FALSE(NormalizeDir("/" + std::string(300, 'a')));
  EXPECT_FALSE(NormalizeDir("/" + std::string(5000, '/')));
}

TEST(ValidateBranchTest, IsNoOptionAndNoPattern) {
  for (const char* good : {"main", "feature/x", "v1.2", "a-b_c"}) {
    EXPECT_TRUE(ValidateBranch(good)) << good;
  }
  for (const char* bad : {"", "-b", "a..b", "a b", "a~1", "x.lock", "/a", "a/", "a\x01", "a@{1}"}) {
    EXPECT_FALSE(ValidateBranch(bad)) << bad;
  }
}

TEST(RedactUrlTest, RemovesUserAndPassword) {
  EXPECT_EQ(RedactUrl("https://u:p@h/x"), "https://h/x");
  EXPECT_EQ(RedactUrl("https://u:p@q@h:8/x@y"), "https://h:8/x@y");
  EXPECT_EQ(RedactUrl("https://h/x@y"), "https://h/x@y");
}

TEST(ValidateCloneTest, FilterAndDirectoriesAreNoOptions) {
  auto valid = [](const std::string& filter, const std::string& dir) {
    return ValidateClone({.repo = "https://h/x", .filter = filter, .sparse = {dir}}).has_value();
  };
  EXPECT_TRUE(valid("blob:none", "src/a b"));
  EXPECT_TRUE(valid("blob:limit=1m", "-dash"));
  for (const char* filter : {"--x", "blob none", "sparse:oid=HEAD:../x\n"}) {
    EXPECT_FALSE(valid(filter, "src")) << filter;
  }
  for (const char* dir : {"", "/src", "a\nb", "\"a", "#a", "!a"}) {
    EXPECT_FALSE(valid("", dir)) << dir;
  }
}

struct Case {
  const char* text;
  const char* reason;
  int status;
};

TEST(CloneErrorTest, TellsCausesApart) {
  const Case cases[] = {
      {"fatal: repository 'https://h/x/' not found\n", "GIT_REPOSITORY_NOT_FOUND", 404},
      {"remote: Repository not found.\nfatal: repository 'https://h/x/' not found",
       "GIT_REPOSITORY_NOT_FOUND", 404},
      {"fatal: https://h/x/info/refs not valid: is this a git repository?\n",
       "GIT_REPOSITORY_NOT_FOUND", 404},
      {"fatal: Authentication failed for 'https://h/x/'\n", "GIT_AUTH_FAILED", 401},
      {"fatal: could not read Username for 'https://h': terminal prompts disabled\n",
       "GIT_AUTH_FAILED", 401},
      {"fatal: unable to access 'https://h/x/': The requested URL returned error: 403",
       "GIT_AUTH_FAILED", 401},
      {"fatal: unable to access 'https://h/x/': Could not resolve host: h\n", "GIT_NETWORK_ERROR",
       502},
      {"fatal: unable to access 'https://h/x/': Failed to connect to h port 1 after 0 ms: "
       "Couldn't connect to server",
       "GIT_NETWORK_ERROR", 502},
      {"error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec transferred the "
       "last 30 seconds\nfatal: early EOF",
       "GIT_NETWORK_ERROR", 502},
      {"fatal: unable to access 'https://h/x/': The requested URL returned error: 503",
       "GIT_NETWORK_ERROR", 502},
      {"fatal: Remote branch nope not found in upstream origin\n", "GIT_BRANCH_NOT_FOUND", 404},
      {"fatal: destination path '/w' already exists and is not an empty directory.\n",
       "FILE_EXISTS", 409},
      {"fatal: transport 'file' not allowed\n", "INVALID_GIT_URL", 400},
      {"fatal: write error: No space left on device\n", "NO_SPACE", 503},
      {"fatal: something new\n", "GIT_OPERATION_FAILED", 500},
      {"", "GIT_OPERATION_FAILED", 500},
  };
  for (const Case& one : cases) {
    Error error = CloneError(one.text, {.repo = "https://h/x"});
    EXPECT_EQ(error.reason, one.reason) << one.text;
    EXPECT_EQ(HttpStatus(error.code), one.status) << one.text;
  }
}

TEST(CloneErrorTest, NeitherTheServerNorTheUrlDecides) {
  EXPECT_EQ(
      CloneError("remote: Authentication failed\nfatal: something new", {.repo = "https://h/x"})
          .reason,
      "GIT_OPERATION_FAILED");
  EXPECT_EQ(
      CloneError("fatal: 'https://h/not allowed' is odd", {.repo = "https://h/not allowed"}).reason,
      "GIT_OPERATION_FAILED");
}

TEST(CloneErrorTest, CredentialsAreNotRepeated) {
  Error error = CloneError("fatal: Authentication failed for 'https://bob:s3cret@h/x/'\n",
                           {.repo = "https://bob:s3cret@h/x"});
  EXPECT_EQ(error.message.find("s3cret"), std::string::npos) << error.message;
  EXPECT_EQ(error.message.find("bob"), std::string::npos) << error.message;
}

TEST(ValidateRunTest, RefusesWhatCannotBeRun) {
  EXPECT_TRUE(ValidateRun({.command = "true"}));
  EXPECT_EQ(ValidateRun({.command = ""}).error().reason, "INVALID_COMMAND");
  EXPECT_EQ(ValidateRun({.command = std::string(131072, 'x')}).error().reason, "INVALID_COMMAND");
  EXPECT_FALSE(ValidateRun({.command = "true", .cwd = "relative"}));
  EXPECT_FALSE(ValidateRun({.command = "true", .env = {{"1A", "x"}}}));
  EXPECT_FALSE(ValidateRun({.command = "true", .env = {{"A=B", "x"}}}));
  EXPECT_TRUE(ValidateRun({.command = "true", .env = {{"_A1", ""}}}));
}

}  // namespace
}  // namespace atl::sandbox
