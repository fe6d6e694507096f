// SPDX-License-Identifier: Apache-2.0
// Repositories in memory or in files, and small snapshots in them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blob/files.h"
#include "repository/test_repository.h"
#include "snapshot/maintenance.h"

namespace atl::snapshot {

using repository::BlobType;
using repository::FileType;
using repository::Id;
using repository::MemoryStore;
using repository::Must;
using repository::MustOpen;
using repository::RandomBytes;
using repository::SnapshotRecord;

// Names with contents; "dir/name" makes directories one level deep.
using Contents = std::map<std::string, std::string>;

inline Id SaveTree(repository::Session& session, const std::vector<repository::Node>& nodes) {
  std::string json;
  repository::TreeEncoder encoder([&](std::string_view piece) -> Result<void> {
    json += piece;
    return {};
  });
  for (const repository::Node& node : nodes) Must(encoder.Add(node));
  Must(encoder.Finish());
  return Must(session.Save(BlobType::kTree, json)).id;
}

inline Id SaveContents(repository::Session& session, const Contents& contents) {
  std::map<std::string, repository::Node> nodes;
  std::map<std::string, Contents> dirs;
  for (const auto& [name, data] : contents) {
    if (const size_t slash = name.find('/'); slash != std::string::npos) {
      dirs[name.substr(0, slash)][name.substr(slash + 1)] = data;
      continue;
    }
    repository::Node node;
    node.name = name;
    node.size = data.size();
    node.permissions = 0644;
    node.links = 1;
    if (!data.empty()) node.content = {Must(session.Save(BlobType::kData, data)).id};
    nodes.emplace(name, std::move(node));
  }
  for (const auto& [name, below] : dirs) {
    repository::Node node;
    node.name = name;
    node.type = repository::NodeType::kDirectory;
    node.permissions = 0755;
    node.links = 2;
    node.subtree = SaveContents(session, below);
    nodes.emplace(name, std::move(node));
  }
  std::vector<repository::Node> list;
  for (auto& [name, node] : nodes) list.push_back(std::move(node));
  return SaveTree(session, list);
}

inline SnapshotRecord SaveSnapshot(repository::Repository& repository, const Contents& contents,
                                   repository::Tags tags = {.sandbox = "demo",
                                                            .dir = "/workspace"}) {
  const auto lock = Must(repository.LockShared());
  auto session = Must(repository.Begin());
  const Id tree = SaveContents(*session, contents);
  Must(session->Flush());
  SnapshotRecord record = repository::NewRecord(tree, EncodeTags(tags));
  Must(repository.SaveSnapshot(record));
  return record;
}

inline void ReadContents(repository::Repository& repository, const Id& tree,
                         const std::string& prefix, Contents& contents) {
  const auto nodes = Must(repository.LoadTree(tree));
  for (const repository::Node& node : *nodes) {
    if (node.type == repository::NodeType::kDirectory) {
      ReadContents(repository, node.subtree, prefix + node.name + "/", contents);
      continue;
    }
    std::string& data = contents[prefix + node.name];
    for (const Id& id : node.content) {
      data += Must(repository.Load({.type = BlobType::kData, .id = id}));
    }
  }
}
inline Contents ReadContents(repository::Repository& repository, const SnapshotRecord& record) {
  Contents contents;
  ReadContents(repository, record.tree, "", contents);
  return contents;
}

inline std::vector<std::string> ErrorsOf(repository::Repository& repository,
                                         bool read_data = true) {
  return Must(Check(repository, {.read_data = read_data})).errors;
}
inline std::vector<std::string> ErrorsOf(const std::shared_ptr<blob::Store>& store) {
  return ErrorsOf(*MustOpen(store));
}

struct Ran {
  int status = 0;
  std::string output;
};

// A repository in files, for restic.
class ResticFixture : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v restic >/dev/null 2>&1") != 0) GTEST_SKIP() << "no restic here";
    store_ = Must(blob::OpenFiles(path_));
    Must(repository::Repository::Init(*store_, repository::TestOptions()));
    repository_ = MustOpen(store_);
  }
  Ran Restic(const std::string& arguments) const {
    const std::string command = "TZ=UTC RESTIC_PASSWORD='correct horse' RESTIC_CACHE_DIR='" +
                                dir_.path() + "/cache' restic -r '" + path_ + "' " + arguments;
    Ran ran;
    FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    std::array<char, 4096> buffer{};
    size_t got = 0;
    while ((got = ::fread(buffer.data(), 1, buffer.size(), pipe)) > 0) {
      ran.output.append(buffer.data(), got);
    }
    ran.status = WEXITSTATUS(::pclose(pipe));
    return ran;
  }
  void CheckWithRestic() const {
    const Ran ran = Restic("check --read-data");
    EXPECT_EQ(ran.status, 0) << ran.output;
  }

  repository::TestDir dir_;
  std::string path_ = dir_.path() + "/repository";
  std::shared_ptr<blob::Store> store_;
  std::unique_ptr<repository::Repository> repository_;
};

}  // namespace atl::snapshot
