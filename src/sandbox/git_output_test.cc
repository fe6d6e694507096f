// SPDX-License-Identifier: Apache-2.0
#include "sandbox/git_output.h"

#include <gtest/gtest.h>

#include "sandbox/git_command.h"
#include "sandbox/git_error.h"

namespace atl::sandbox {
namespace {

using namespace std::string_literals;

const std::string kHash(40, 'a');
const std::string kOther(40, 'b');

TEST(GitStatusTest, ReadsEveryKindOfEntry) {
  std::string bytes = "# branch.oid " + kHash + "\0# branch.head main\0"s +
                      "# branch.upstream origin/main\0# branch.ab +2 -3\0# stash 1\0"s +
                      "1 .M N... 100644 100644 100644 " + kHash + " " + kHash + " a b\0"s +
                      "2 R. N... 100644 100644 100644 " + kHash + " " + kHash +
                      " R100 new\nname\0old\0"s + "u UU N... 100644 100644 100644 100644 " + kHash +
                      " " + kHash + " " + kHash + " torn\0"s + "1 AM SC.. 000000 160000 160000 " +
                      kHash + " " + kHash + " sub\0? \xff\0! log\0"s;
  Result<GitStatus> status = ParseGitStatus(bytes, false);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->branch, "main");
  EXPECT_EQ(status->commit, kHash);
  EXPECT_EQ(status->upstream, "origin/main");
  EXPECT_EQ(status->ahead, 2);
  EXPECT_EQ(status->behind, 3);
  ASSERT_EQ(status->changes.size(), 6);
  EXPECT_EQ(status->changes[0].path, "a b");
  EXPECT_EQ(status->changes[0].index, ' ');
  EXPECT_EQ(status->changes[0].worktree, 'M');
  EXPECT_EQ(status->changes[1].path, "new\nname");
  EXPECT_EQ(status->changes[1].from, "old");
  EXPECT_TRUE(status->changes[2].conflict);
  EXPECT_EQ(status->changes[2].path, "torn");
  EXPECT_TRUE(status->changes[3].submodule);
  EXPECT_EQ(status->changes[4].path, "\xff");
  EXPECT_EQ(status->changes[4].index, '?');
  EXPECT_EQ(status->changes[5].index, '!');
  EXPECT_FALSE(status->more);
}

TEST(GitStatusTest, KeepsWhatIsWholeOfWhatWasCut) {
  std::string entry = "1 M. N... 1 1 1 " + kHash + " " + kHash + " a\0"s;
  std::string rename = "2 R. N... 1 1 1 " + kHash + " " + kHash + " R9 new\0old\0"s;
  std::string bytes = entry + rename;
  for (size_t length = 0; length <= bytes.size(); ++length) {
    Result<GitStatus> status = ParseGitStatus(bytes.substr(0, length), true);
    ASSERT_TRUE(status) << length << " " << status.error().message;
    size_t expected = length >= bytes.size() ? 2 : length >= entry.size() ? 1 : 0;
    EXPECT_EQ(status->changes.size(), expected) << length;
    EXPECT_TRUE(status->more);
  }
  EXPECT_EQ(ParseGitStatus("? a\0? b\0? c\0"s, false, 2)->changes.size(), 2);
  EXPECT_TRUE(ParseGitStatus("? a\0? b\0? c\0"s, false, 2)->more);
}

TEST(GitStatusTest, RefusesWhatIsNone) {
  for (const std::string& bad :
       {"\0"s, "hello\0"s, "1 M\0"s, "1 MM N... 1 1 1 a a \0"s, "1 ZZ N... 1 1 1 a a x\0"s,
        "2 R. N... 1 1 1 a a R100 new\0"s, "9 x y\0"s, "?\0"s, "? \0"s}) {
    EXPECT_FALSE(ParseGitStatus(bad, false)) << bad;
  }
}

TEST(GitLogTest, ReadsCommits) {
  std::string first = kHash + "\0"s + kOther + " " + kHash +
                      "\0Ada\0a@x\0001700000000\0Bob\0b@x\0-5\0HEAD -> refs/heads/main, tag: "
                      "refs/tags/v1\0Subject\n\nBody\n\n\0"s;
  std::string root = kOther + "\0\0\0\0never\0\0\0\0\0\0"s;
  auto commits = ParseGitLog(first + root, false);
  ASSERT_TRUE(commits) << commits.error().message;
  ASSERT_EQ(commits->size(), 2);
  EXPECT_EQ((*commits)[0].parents.size(), 2);
  EXPECT_EQ((*commits)[0].author, "Ada");
  EXPECT_EQ((*commits)[0].author_time, 1700000000);
  EXPECT_EQ((*commits)[0].commit_time, -5);
  EXPECT_EQ((*commits)[0].refs, (std::vector<std::string>{"refs/heads/main", "refs/tags/v1"}));
  EXPECT_EQ((*commits)[0].message, "Subject\n\nBody");
  EXPECT_EQ((*commits)[1].author_time, 0);
  EXPECT_EQ((*commits)[1].message, "");
  EXPECT_EQ(ParseGitLog(first + root, false, 1)->size(), 1);
  std::string cut = first + root.substr(0, 20);
  EXPECT_EQ(ParseGitLog(cut, true)->size(), 1);
  EXPECT_FALSE(ParseGitLog("no hash\0\0\0\0\0\0\0\0\0\0"s, false));
  EXPECT_FALSE(ParseGitLog(kHash + "\0"s, false));
}

TEST(GitBranchesTest, LeavesOutWhatIsAnotherName) {
  std::string bytes = "refs/heads/a/b\0"s + kHash + "\0origin/a\0*\0005\0\0Subject\0\n"s +
                      "refs/remotes/origin/HEAD\0"s + kHash + "\0\0 \0005\0refs/x\0S\0\n"s +
                      "refs/remotes/origin/a\0"s + kHash + "\0\0 \0005\0\0S\0\n"s;
  auto branches = ParseGitBranches(bytes, false);
  ASSERT_TRUE(branches) << branches.error().message;
  ASSERT_EQ(branches->size(), 2);
  EXPECT_EQ((*branches)[0].name, "a/b");
  EXPECT_EQ((*branches)[0].upstream, "origin/a");
  EXPECT_TRUE((*branches)[0].current);
  EXPECT_EQ((*branches)[0].commit_time, 5);
  EXPECT_EQ((*branches)[1].name, "origin/a");
  EXPECT_TRUE((*branches)[1].remote);
  EXPECT_FALSE(ParseGitBranches("refs/tags/x\0"s + kHash + "\0\n"s, false));
  EXPECT_FALSE(ParseGitBranches("refs/heads/x\0nothing\0\n"s, false));
  EXPECT_EQ(ParseGitBranches(bytes.substr(0, bytes.size() - 1), true)->size(), 1);
}

TEST(GitDiffTest, PutsFilesAndTheirCountsTogether) {
  std::string raw = ":100644 100644 "s + kHash + " " + kOther + " M\0a b\0"s + ":100644 100644 " +
                    kHash + " " + kOther + " R90\0old\0new\0"s + ":000000 100644 " + kHash + " " +
                    kOther + " A\0bin\0"s;
  std::string counts = "1\t2\ta b\0003\t4\t\0old\0new\0-\t-\tbin\0"s;
  auto diff = ParseGitDiff(raw + counts, false);
  ASSERT_TRUE(diff) << diff.error().message;
  ASSERT_EQ(diff->files.size(), 3);
  EXPECT_EQ(diff->files[0].added, 1);
  EXPECT_EQ(diff->files[0].removed, 2);
  EXPECT_EQ(diff->files[1].from, "old");
  EXPECT_EQ(diff->files[1].path, "new");
  EXPECT_EQ(diff->files[1].removed, 4);
  EXPECT_EQ(diff->files[2].status, 'A');
  EXPECT_FALSE(diff->files[2].added);
  EXPECT_TRUE(ParseGitDiff(raw + counts, false, 1)->more);
  EXPECT_FALSE(ParseGitDiff("hello\0"s, false));
  EXPECT_FALSE(ParseGitDiff(":1 2 3 4 ?\0x\0"s, false));
  EXPECT_FALSE(ParseGitDiff(raw + "x\t1\ty\0"s, false));
  for (size_t length = 0; length < raw.size() + counts.size(); ++length) {
    EXPECT_TRUE(ParseGitDiff((raw + counts).substr(0, length), true)) << length;
  }
}

TEST(GitPushTest, TakesTheLinesOfRefsAlone) {
  auto pushed = ParseGitPush(
      "To http://h/x\n=\trefs/heads/a:refs/heads/a\t[up to date]\n"
      "!\trefs/heads/b:refs/heads/b\t[rejected] (fetch first)\nDone\nx\ty:z\tw\n*\tnocolon\t1\n");
  ASSERT_TRUE(pushed);
  ASSERT_EQ(pushed->size(), 2);
  EXPECT_EQ((*pushed)[0].flag, '=');
  EXPECT_EQ((*pushed)[1].flag, '!');
  EXPECT_EQ((*pushed)[1].to, "refs/heads/b");
  EXPECT_EQ((*pushed)[1].summary, "[rejected] (fetch first)");
}

TEST(GitProgressTest, ReadsPhasesAndNumbers) {
  auto progress = ParseGitProgress("Receiving objects:  50% (3/6), 1.20 MiB | 3.00 MiB/s");
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->phase, "Receiving objects");
  EXPECT_EQ(progress->done, 3);
  EXPECT_EQ(progress->total, 6);
  progress = ParseGitProgress("remote: Enumerating objects: 12, done.");
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->phase, "Enumerating objects");
  EXPECT_EQ(progress->done, 12);
  EXPECT_EQ(progress->total, 0);
  for (const char* other : {"", ": 5", "Cloning into 'x'...", "fatal: no", "x: 5% (a/b)",
                            "x: 50% (5", "x: 99999999999999999999", "x: 5% (/)"}) {
    EXPECT_FALSE(ParseGitProgress(other)) << other;
  }
}

TEST(GitErrorTest, NamesOfFilesDecideNothing) {
  Error error = LocalGitError(
      "git checkout",
      "error: Your local changes to the following files would be overwritten by checkout:\n"
      "\tnot a git repository\nPlease commit your changes\nAborting\n");
  EXPECT_EQ(error.reason, "GIT_LOCAL_CHANGES");
  EXPECT_EQ(
      LocalGitError("git x", "fatal: detected dubious ownership in repository at '/x'").reason,
      "GIT_DUBIOUS_OWNERSHIP");
  EXPECT_EQ(LocalGitError("git x", "").reason, "GIT_OPERATION_FAILED");
}

TEST(GitErrorTest, NoPasswordOfAnyUrlIsRepeated) {
  Error error = RemoteGitError(
      "git push", "fatal: Authentication failed for 'https://bob:s3@cret@h/x@y/'\n", "origin");
  EXPECT_EQ(error.reason, "GIT_AUTH_FAILED");
  EXPECT_EQ(error.message, "git push: fatal: Authentication failed for 'https://h/x@y/'");
}

TEST(GitCommandTest, WhatComesFromOutsideIsNoOption) {
  EXPECT_TRUE(ValidateRevision("ref", "HEAD~3"));
  EXPECT_TRUE(ValidateRevision("ref", "main..topic"));
  for (const char* bad : {"", "-x", "--all", "a\nb"}) {
    EXPECT_FALSE(ValidateRevision("ref", bad)) << bad;
  }
  EXPECT_TRUE(ValidateRemote("origin"));
  EXPECT_TRUE(ValidateRemote("git@h:x"));
  for (const char* bad : {"", "-x", "ext::sh", "file:///x", "/etc"}) {
    EXPECT_FALSE(ValidateRemote(bad)) << bad;
  }
  EXPECT_FALSE(ValidateCredentials({.username = "u", .password = ""}));
  EXPECT_FALSE(ValidateCredentials({.username = "u", .password = "a\nb"}));
  for (const auto& [name, value] : GitEnvironment()) {
    EXPECT_NE(name, "ATOLL_GIT_PASSWORD");
    EXPECT_NE(name, "ATOLL_GIT_SSH_KEY");
  }
}

}  // namespace
}  // namespace atl::sandbox
