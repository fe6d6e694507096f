// SPDX-License-Identifier: Apache-2.0
// Trees, snapshots and locks of a repository that restic itself has made.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>

#include "repository/records.h"
#include "repository/tree.h"

namespace atl::repository {
namespace {

namespace fs = std::filesystem;

std::string Output(const std::string& command) {
  std::string out;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 65536> buffer{};
  while (size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) out.append(buffer.data(), n);
  int status = pclose(pipe);
  EXPECT_EQ(status, 0) << command;
  return out;
}

std::string Reencoded(const std::vector<Node>& nodes) {
  std::string out;
  TreeEncoder encoder([&](std::string_view piece) -> Result<void> {
    out += piece;
    return {};
  });
  for (const Node& node : nodes) EXPECT_TRUE(encoder.Add(node));
  EXPECT_TRUE(encoder.Finish());
  return out;
}

class ResticTree : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v restic >/dev/null") != 0) GTEST_SKIP() << "no restic";
    std::string name = fs::temp_directory_path() / "atoll-tree-XXXXXX";
    dir_ = mkdtemp(name.data());
    fs::create_directory(dir_ / "data");
    restic_ = "TZ=UTC RESTIC_PASSWORD=x restic --no-cache -q -r " + (dir_ / "repo").string() + " ";
    Output(restic_ + "init");
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  void Write(const std::string& name, std::string_view content) {
    std::ofstream(dir_ / "data" / name, std::ios::binary) << content;
  }
  // The tree of the directory that was backed up.
  std::string Backup() {
    Output(restic_ + "backup --tag a=b,c " + (dir_ / "data").string());
    std::string id = Output(restic_ + "list snapshots");
    id.resize(64);
    auto snapshot = DecodeSnapshot(Output(restic_ + "cat snapshot " + id));
    EXPECT_TRUE(snapshot);
    if (!snapshot) return {};
    snapshot_ = *std::move(snapshot);
    std::string json = Output(restic_ + "cat blob " + snapshot_.tree.Hex());
    for (const fs::path& part : (dir_ / "data").relative_path()) {
      auto nodes = DecodeTree(json);
      EXPECT_TRUE(nodes && nodes->size() == 1U && nodes->front().name == part);
      if (!nodes) return {};
      json = Output(restic_ + "cat blob " + nodes->front().subtree.Hex());
    }
    return json;
  }

  fs::path dir_;
  std::string restic_;
  SnapshotRecord snapshot_;
};

TEST_F(ResticTree, OddNodesAreReadAndWrittenAsResticDoes) {
  std::vector<std::string> names = {"plain",
                                    "a\nb",
                                    "q\"\\'",
                                    "\xff\xfe"
                                    "bytes",
                                    "<html>&\x7f",
                                    "é☺日本",
                                    "\x01\x1f\t",
                                    "\u00a0\u2028\ufeff\U000e0001"};
  for (const std::string& name : names) Write(name, name);
  fs::path data = dir_ / "data";
  Write("suid", "");
  ASSERT_EQ(chmod((data / "suid").c_str(), 06755), 0);
  ASSERT_EQ(mkdir((data / "sticky").c_str(), 0777), 0);
  ASSERT_EQ(chmod((data / "sticky").c_str(), 01777), 0);
  fs::create_symlink("../x y/<é>", data / "link");
  ASSERT_EQ(mkfifo((data / "fifo").c_str(), 0600), 0);
  fs::create_hard_link(data / "plain", data / "plain2");
  bool device = mknod((data / "null").c_str(), S_IFCHR | 0666, 0x103) == 0;
  std::string value("v\0\xff", 3);
  bool xattr = setxattr((data / "plain").c_str(), "user.key", value.data(), value.size(), 0) == 0;

  std::string json = Backup();
  auto decoded = DecodeTree(json);
  ASSERT_TRUE(decoded) << decoded.error().message;
  std::map<std::string, const Node*> nodes;
  for (const Node& node : *decoded) nodes[node.name] = &node;
  for (const std::string& name : names) {
    ASSERT_TRUE(nodes.contains(name)) << QuoteName(name);
    EXPECT_EQ(nodes[name]->content, std::vector<Id>{Hash(name)});
    EXPECT_EQ(nodes[name]->size, name.size());
  }
  EXPECT_EQ(nodes["suid"]->permissions, 06755);
  EXPECT_TRUE(nodes["suid"]->content.empty());
  EXPECT_EQ(nodes["sticky"]->permissions, 01777);
  EXPECT_EQ(nodes["sticky"]->type, NodeType::kDirectory);
  EXPECT_EQ(nodes["link"]->link_target(), "../x y/<é>");
  EXPECT_EQ(nodes["fifo"]->type, NodeType::kFifo);
  EXPECT_EQ(nodes["plain"]->links, 2U);
  EXPECT_EQ(nodes["plain"]->inode, nodes["plain2"]->inode);
  if (device) {
    EXPECT_EQ(nodes["null"]->type, NodeType::kCharDevice);
    EXPECT_EQ(nodes["null"]->device, 0x103U);
  }
  if (xattr) {
    EXPECT_EQ(nodes["plain"]->xattrs(), (Xattrs{{"user.key", value}}));
  }
  struct stat st{};
  ASSERT_EQ(stat((data / "plain").c_str(), &st), 0);
  EXPECT_EQ(nodes["plain"]->mtime,
            (Time{st.st_mtim.tv_sec, static_cast<uint32_t>(st.st_mtim.tv_nsec)}));

  // But for what Atoll leaves out, restic's text comes out again, byte for byte.
  std::regex left_out(R"re(,"(user|group)":"[^"]*"|,"device_id":[0-9]+)re");
  EXPECT_EQ(Reencoded(*decoded), std::regex_replace(json, left_out, ""));
}

TEST_F(ResticTree, SnapshotsAndLocksAreRead) {
  Write("f", "x");
  Backup();
  EXPECT_EQ(snapshot_.paths, std::vector<std::string>{(dir_ / "data").string()});
  EXPECT_EQ(snapshot_.tags, (std::vector<std::string>{"a=b", "c"}));
  EXPECT_EQ(snapshot_.uid, getuid());
  EXPECT_FALSE(snapshot_.hostname.empty());
  EXPECT_GT(snapshot_.time.seconds, 1'600'000'000);

  // restic holds its lock as long as its standard output is not read.
  std::string big(1U << 20U, 'x');
  Write("big", big);
  Output(restic_ + "backup " + (dir_ / "data").string());
  FILE* dump = popen((restic_ + "dump latest " + (dir_ / "data/big").string()).c_str(), "r");
  ASSERT_NE(dump, nullptr);
  ASSERT_NE(fgetc(dump), EOF);
  std::string id = Output(restic_ + "--no-lock list locks");
  EXPECT_GE(id.size(), 64U);
  id.resize(64);
  auto lock = DecodeLock(Output(restic_ + "--no-lock cat lock " + id));
  pclose(dump);
  ASSERT_TRUE(lock) << lock.error().message;
  EXPECT_FALSE(lock->exclusive);
  EXPECT_GT(lock->pid, 0);
  EXPECT_GT(lock->time.seconds, 1'600'000'000);
}

}  // namespace
}  // namespace atl::repository
