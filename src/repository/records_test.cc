// SPDX-License-Identifier: Apache-2.0
#include "repository/records.h"

#include <gtest/gtest.h>

namespace atl::repository {
namespace {

TEST(Snapshots, ComeBack) {
  SnapshotRecord record;
  record.time = {1'700'000'000, 5};
  record.parent = Hash("parent");
  record.tree = Hash("tree");
  record.paths = {"/workspace", "/a \"b\" <c>"};
  record.hostname = "host";
  record.username = "root";
  record.uid = 1000;
  record.gid = 1001;
  record.excludes = {"*.o"};
  record.tags = {"sandbox=x", "dir=/workspace"};
  record.original = Hash("first");
  record.program_version = "atoll 1";
  record.summary = Summary{.files_new = 1,
                           .files_changed = 2,
                           .files_unmodified = 3,
                           .dirs_new = 4,
                           .dirs_changed = 5,
                           .dirs_unmodified = 6,
                           .data_blobs = 7,
                           .tree_blobs = 8,
                           .data_added = 9,
                           .data_added_packed = UINT64_MAX,
                           .total_files_processed = 11,
                           .total_bytes_processed = 12,
                           .backup_start = {1, 2},
                           .backup_end = {3, 4}};
  auto back = DecodeSnapshot(EncodeSnapshot(record));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->time, record.time);
  EXPECT_EQ(back->parent, record.parent);
  EXPECT_EQ(back->tree, record.tree);
  EXPECT_EQ(back->paths, record.paths);
  EXPECT_EQ(back->hostname, record.hostname);
  EXPECT_EQ(back->username, record.username);
  EXPECT_EQ(back->uid, record.uid);
  EXPECT_EQ(back->gid, record.gid);
  EXPECT_EQ(back->excludes, record.excludes);
  EXPECT_EQ(back->tags, record.tags);
  EXPECT_EQ(back->original, record.original);
  EXPECT_EQ(back->program_version, record.program_version);
  EXPECT_EQ(back->summary, record.summary);
  EXPECT_EQ(back->id(), Hash("first"));
}

TEST(Snapshots, NeedLittle) {
  auto record = DecodeSnapshot(R"({"time":"2023-11-14T22:13:20+01:00","tree":")" + Hash("t").Hex() +
                               R"(","paths":null,"new_member":[{}]})");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->time.seconds, 1'699'996'400);
  EXPECT_FALSE(record->parent);
  EXPECT_FALSE(record->summary);
}

TEST(Snapshots, RefusesWhatIsNone) {
  std::string tree = R"("tree":")" + Hash("t").Hex() + R"(")";
  for (std::string json : {std::string(), std::string("[]"), std::string("{}"), std::string("{"),
                           std::string(R"({"tree":"ab"})"), "{" + tree + R"(,"time":5})",
                           "{" + tree + R"(,"paths":"/"})", "{" + tree + R"(,"paths":[1]})",
                           "{" + tree + R"(,"parent":"x"})", "{" + tree + R"(,"summary":[]})",
                           "{" + tree + R"(,"summary":{"files_new":-1}})",
                           "{" + tree + R"(,"uid":1e300})", "{" + tree + R"(,"tags":{}})"}) {
    auto record = DecodeSnapshot(json);
    ASSERT_FALSE(record) << json;
    EXPECT_EQ(record.error().reason, "REPOSITORY_CORRUPT");
  }
}

TEST(Locks, ComeBack) {
  LockRecord record{.time = {1'700'000'000, 0},
                    .exclusive = true,
                    .hostname = "host",
                    .username = "root",
                    .pid = 4711,
                    .uid = 1,
                    .gid = 2};
  auto back = DecodeLock(EncodeLock(record));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->time, record.time);
  EXPECT_EQ(back->exclusive, true);
  EXPECT_EQ(back->hostname, "host");
  EXPECT_EQ(back->username, "root");
  EXPECT_EQ(back->pid, 4711);
  EXPECT_EQ(back->uid, 1U);
  EXPECT_EQ(back->gid, 2U);
  EXPECT_FALSE(DecodeLock(R"({"exclusive":true})"));
  EXPECT_FALSE(DecodeLock(R"({"time":"2023-11-14T22:13:20Z","pid":"x"})"));
}

}  // namespace
}  // namespace atl::repository
