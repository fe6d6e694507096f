// SPDX-License-Identifier: Apache-2.0
#include "oci/seccomp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/bundle.h"
#include "sys/fd.h"

namespace atl::oci {
namespace {

TEST(Seccomp, RefusesWhatIsNoProfile) {
  for (const char* text :
       {"", "[]", "{}", R"({"syscalls":[]})", R"({"syscalls":[1]})",
        R"({"syscalls":[{"names":["read"],"action":"SCMP_ACT_MAYBE"}]})",
        R"({"syscalls":[{"action":"SCMP_ACT_ALLOW"}]})",
        R"({"syscalls":[{"names":[7],"action":"SCMP_ACT_ALLOW"}]})",
        R"({"syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":70000}]})",
        R"({"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]})"}) {
    auto filter = CompileSeccomp(text, Capabilities());
    ASSERT_FALSE(filter) << text;
    EXPECT_EQ(Code::kInvalidArgument, filter.error().code) << text;
  }
}

TEST(Seccomp, TakesRulesByCapability) {
  const char* profile = R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
    {"names":["read","write","brandnew"],"action":"SCMP_ACT_ALLOW"},
    {"names":["acct"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_PACCT"]}},
    {"names":["acct"],"action":"SCMP_ACT_ERRNO","errnoRet":1,
     "excludes":{"caps":["CAP_SYS_PACCT"]}},
    {"names":["iopl"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
    {"names":["ioperm"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}}]})";
  auto without = CompileSeccomp(profile, Capabilities());
  auto with = CompileSeccomp(profile, {"CAP_SYS_PACCT"});
  ASSERT_TRUE(without && with);
  EXPECT_THAT(without->unknown, testing::ElementsAre("brandnew"));
  EXPECT_NE(without->bpf, with->bpf);
  EXPECT_EQ(without->rules, with->rules) << "neither the other machine's nor the later kernel's";
  EXPECT_EQ(0U, without->bpf.size() % 8);
}

TEST(Seccomp, Base64) {
  EXPECT_EQ("", SeccompFilter{}.Base64());
  EXPECT_EQ("Zg==", SeccompFilter{.bpf = "f"}.Base64());
  EXPECT_EQ("Zm8=", SeccompFilter{.bpf = "fo"}.Base64());
  EXPECT_EQ("Zm9vYg==", SeccompFilter{.bpf = "foob"}.Base64());
  EXPECT_EQ("////", SeccompFilter{.bpf = "\xff\xff\xff"}.Base64());
}

TEST(Seccomp, CompilesDebiansProfileOnce) {
  if (::access(std::string(kSeccompProfile).c_str(), R_OK) < 0) GTEST_SKIP() << "not installed";
  std::string pattern = "/tmp/atoll-seccomp-test.XXXXXX";
  std::string dir = ::mkdtemp(pattern.data());
  std::string cache = dir + "/seccomp.bpf";
  auto first = LoadSeccomp(std::string(kSeccompProfile), cache);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_GT(first->size(), 1000U);
  struct stat before{};
  ASSERT_EQ(0, ::stat(cache.c_str(), &before));
  EXPECT_EQ(*first, *LoadSeccomp(std::string(kSeccompProfile), cache));
  struct stat after{};
  ASSERT_EQ(0, ::stat(cache.c_str(), &after));
  EXPECT_EQ(before.st_ino, after.st_ino) << "not written again";
  // A cache that was cut short or made from something else is made anew.
  ASSERT_TRUE(sys::WriteFile(cache, "1 other\nAAAA\n"));
  EXPECT_EQ(*first, *LoadSeccomp(std::string(kSeccompProfile), cache));
  EXPECT_TRUE(sys::RemoveTree(dir));
  EXPECT_EQ(Code::kNotFound, LoadSeccomp("/nowhere.json", cache).error().code);
}

}  // namespace
}  // namespace atl::oci
