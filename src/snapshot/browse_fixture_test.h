// SPDX-License-Identifier: Apache-2.0
// A repository in a directory of its own, and snapshots made of nodes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "blob/files.h"
#include "repository/repository.h"
#include "snapshot/browse.h"

namespace atl::snapshot {

class BrowseTest : public ::testing::Test {
 protected:
  using Node = repository::Node;
  using NodeType = repository::NodeType;

  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "atoll-browse-XXXXXX";
    dir_ = mkdtemp(name.data());
    auto store = blob::OpenFiles(dir_ / "repository");
    ASSERT_TRUE(store) << store.error().message;
    repository::Options options{.password = "x", .scrypt = {.n = 1024, .r = 8, .p = 1}};
    auto made = repository::Repository::Init(**store, options);
    ASSERT_TRUE(made) << made.error().message;
    auto opened = repository::Repository::Open(*store, options);
    ASSERT_TRUE(opened) << opened.error().message;
    repository_ = *std::move(opened);
    auto lock = repository_->LockShared();
    ASSERT_TRUE(lock) << lock.error().message;
    lock_ = *std::move(lock);
    auto session = repository_->Begin();
    ASSERT_TRUE(session) << session.error().message;
    session_ = *std::move(session);
  }
  void TearDown() override {
    session_.reset();
    lock_.reset();
    repository_.reset();
    std::filesystem::remove_all(dir_);
  }

  static std::string RandomBytes(size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
  }

  repository::Id Save(repository::BlobType type, std::string_view plain) {
    auto saved = session_->Save(type, plain);
    EXPECT_TRUE(saved) << saved.error().message;
    return saved ? saved->id : repository::Id();
  }

  Node Make(std::string name, NodeType type, uint16_t permissions = 0644) {
    Node node;
    node.name = std::move(name);
    node.type = type;
    node.permissions = permissions;
    node.mtime = {1'700'000'000, 123'456'789};
    node.ctime = node.mtime;
    node.inode = ++inode_;
    node.links = 1;
    return node;
  }
  // A file of pieces, each a blob.
  Node File(std::string name, const std::vector<std::string>& pieces) {
    Node node = Make(std::move(name), NodeType::kFile);
    for (const std::string& piece : pieces) {
      node.content.push_back(Save(repository::BlobType::kData, piece));
      node.size += piece.size();
    }
    return node;
  }
  Node File(std::string name, std::string content) {
    return File(std::move(name), std::vector<std::string>{std::move(content)});
  }
  Node Link(std::string name, std::string target) {
    Node node = Make(std::move(name), NodeType::kSymlink, 0777);
    node.extra = std::make_unique<Node::Extra>();
    node.extra->link_target = std::move(target);
    return node;
  }
  template <class... Nodes>
  Node Dir(std::string name, Nodes... nodes) {
    std::vector<Node> list;
    (list.push_back(std::move(nodes)), ...);
    return DirOf(std::move(name), std::move(list));
  }
  Node DirOf(std::string name, std::vector<Node> nodes) {
    std::ranges::sort(nodes, {}, &Node::name);
    std::string json;
    repository::TreeEncoder encoder([&](std::string_view piece) -> Result<void> {
      json += piece;
      return {};
    });
    for (const Node& node : nodes) EXPECT_TRUE(encoder.Add(node));
    EXPECT_TRUE(encoder.Finish());
    Node node = Make(std::move(name), NodeType::kDirectory, 0755);
    node.subtree = Save(repository::BlobType::kTree, json);
    return node;
  }
  // Of "/workspace", which `node` is named in its parent.
  repository::SnapshotRecord Snapshot(Node workspace) {
    repository::SnapshotRecord record;
    record.time = {1'700'000'000, 0};
    record.paths = {"/workspace"};
    record.tags = repository::EncodeTags({.sandbox = "demo", .dir = "/workspace"});
    record.tree = Dir("", std::move(workspace)).subtree;
    return record;
  }
  void Flush() {
    auto flushed = session_->Flush();
    ASSERT_TRUE(flushed) << flushed.error().message;
  }
  // What is kept on disk of packs is gone.
  void LosePacks() { std::filesystem::remove_all(dir_ / "repository" / "data"); }

  std::filesystem::path dir_;
  std::unique_ptr<repository::Repository> repository_;
  std::unique_ptr<repository::Lock> lock_;
  std::unique_ptr<repository::Session> session_;
  uint64_t inode_ = 100;
};

}  // namespace atl::snapshot
