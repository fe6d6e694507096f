// SPDX-License-Identifier: Apache-2.0
// Merges what a walk says with the parent's trees and builds the new ones from the leaves up.
// Used by one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "protocol/tree.h"
#include "repository/repository.h"
#include "snapshot/backup.h"
#include "snapshot/file_worker.h"
#include "snapshot/parent_tree.h"
#include "snapshot/tree_writer.h"

namespace atl::snapshot {

// An entry of a directory. It waits for its content or subtree, and for those before it.
struct TreeSlot {
  repository::Node node;
  bool ready = false;
  bool dropped = false;
  bool was_there = false;  // the parent has a file or directory of that name
  bool mixed = false;      // it changed while it was read
  uint64_t declared = 0;   // size that the walk said
  std::unique_ptr<struct TreeDirectory> child;
};

struct TreeDirectory {
  TreeDirectory* parent = nullptr;
  uint64_t slot = 0;   // in the parent
  std::string prefix;  // of the paths of its entries: "" or "a/b/"
  std::optional<repository::Id> old_id;
  repository::Repository::Tree old;  // nodes of the parent; null: none
  size_t merged = 0;                 // of `old`, by names that the walk has said
  size_t same = 0;                   // all entries so far are the first of `old`
  std::deque<TreeSlot> slots;
  uint64_t first_slot = 0;  // number of slots.front()
  // Regular files to which more may belong: each name begins with the one before it. See
  // TreeBuilder::OnFile.
  struct Undecided {
    std::string name;
    std::vector<uint64_t> slots;  // its own, then those that belong to it
    std::vector<const repository::Node*> old;
  };
  std::vector<Undecided> undecided;
  std::unique_ptr<TreeWriter> writer;  // once an entry differs
  bool left = false;

  TreeSlot& at(uint64_t number) { return slots[number - first_slot]; }
};

class TreeBuilder {
 public:
  struct Hooks {
    std::function<void(std::vector<FileGroup> groups)> read;
    std::stop_token stop;
    KnownFilesStore::Table known;  // of the files in place; null: nothing
    repository::Time begin;        // of the walk
  };
  TreeBuilder(repository::Repository& repository, repository::Session& session,
              std::optional<Parent> parent, Hooks hooks);

  Result<void> OnRecord(protocol::TreeRecord record);
  Result<void> OnAnswer(FileAnswer answer);
  // Sends what is to be read and has been collected.
  void SendBatch();
  // So much waits for files that are being read that no more records should be given.
  bool Full() const;
  // Files that are being read.
  uint64_t waiting() const { return waiting_; }
  bool done() const { return root_id_.has_value(); }

  // Of the directory, once done().
  const repository::Id& tree() const { return *root_id_; }
  const repository::Node& node() const { return root_node_; }

  // Adds files, bytes_total, files_changed, changed_while_read, skipped and the like.
  const BackupResult& result() const { return result_; }
  const repository::Summary& summary() const { return summary_; }
  // Of the files that were seen, once done().
  std::vector<KnownFile> TakeKnown() { return std::move(known_); }
  uint64_t entries_seen() const { return files_seen_; }
  uint64_t bytes_seen() const { return bytes_seen_; }
  uint64_t bytes_unchanged() const { return bytes_unchanged_; }

 private:
  using Undecided = TreeDirectory::Undecided;

  Result<void> OnEntry(protocol::TreeEntry entry);
  Result<void> Enter(repository::Node node, const repository::Node* old);
  Result<void> Leave();
  void OnFile(repository::Node node, const repository::Node* old);
  void Decide(TreeDirectory& directory, const Undecided& file);
  void DecideAll(TreeDirectory& directory);
  bool CanCopy(const std::string& prefix, const repository::Node& node,
               const repository::Node* old) const;
  // Notes what is known of a file now, and takes from the node what is only this host's.
  void Note(const TreeDirectory& directory, repository::Node& node);
  const repository::Node* FindOld(TreeDirectory& directory, std::string_view name);
  uint64_t AddSlot(TreeDirectory& directory, repository::Node node);
  // `is_there`: it exists and could not be stored, so that a restore must not take it for gone.
  void Skip(const std::string& path, bool is_there);
  void LeaveOut(const std::string& path);
  // Moves on as far as nothing has to be waited for, up to the root.
  Result<void> Advance(TreeDirectory* directory);
  Result<void> Emit(TreeDirectory& directory, TreeSlot slot);
  Result<repository::Id> Finish(TreeDirectory& directory);

  repository::Repository& repository_;
  repository::Session& session_;
  std::optional<Parent> parent_;
  Hooks hooks_;
  NodeBudget budget_;
  std::unique_ptr<TreeDirectory> root_;
  TreeDirectory* current_ = nullptr;
  repository::Node root_node_;
  std::optional<repository::Id> root_id_;

  std::vector<FileGroup> batch_;
  size_t batch_files_ = 0;
  uint64_t batch_bytes_ = 0;
  uint64_t waiting_ = 0;   // files that were asked for
  uint64_t declared_ = 0;  // bytes of files whose slots are not gone
  uint64_t slots_ = 0;

  BackupResult result_;
  size_t left_out_bytes_ = 0;
  std::vector<KnownFile> known_;
  repository::Summary summary_;
  uint64_t files_seen_ = 0;
  uint64_t bytes_seen_ = 0;
  uint64_t bytes_unchanged_ = 0;
};

}  // namespace atl::snapshot
