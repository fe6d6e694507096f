// SPDX-License-Identifier: Apache-2.0
#include "snapshot/tree_builder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "snapshot/left_out.h"

namespace atl::snapshot {

using protocol::TreeEntry;
using repository::BlobType;
using repository::Id;
using repository::Node;
using repository::NodeType;

namespace {

constexpr size_t kBatchFiles = 64;
constexpr uint64_t kBatchBytes = 1U << 20U;
constexpr uint64_t kMaxWaiting = 8192;
constexpr uint64_t kMaxSlots = 65536;
// Their chunks' ids take 16 MiB.
constexpr uint64_t kMaxDeclared = (16ULL << 20U) / sizeof(Id) * repository::kMinChunk;
constexpr size_t kMaxSkippedPaths = 100;
constexpr size_t kMaxLeftOut = 20'000;
constexpr size_t kMaxLeftOutBytes = 2U << 20U;

// What belongs to a SQLite database.
constexpr std::array<std::string_view, 3> kCompanions = {"-journal", "-shm", "-wal"};

bool BelongsTo(std::string_view name, std::string_view base) {
  return name.starts_with(base) &&
         std::ranges::find(kCompanions, name.substr(base.size())) != kCompanions.end();
}

}  // namespace

TreeBuilder::TreeBuilder(repository::Repository& repository, repository::Session& session,
                         std::optional<Parent> parent, Hooks hooks)
    : repository_(repository),
      session_(session),
      parent_(std::move(parent)),
      hooks_(std::move(hooks)) {}

Result<void> TreeBuilder::OnRecord(protocol::TreeRecord record) {
  if (auto* entry = std::get_if<TreeEntry>(&record)) return OnEntry(std::move(*entry));
  if (std::holds_alternative<protocol::LeaveDir>(record)) return Leave();
  if (auto* skipped = std::get_if<protocol::SkippedEntry>(&record)) {
    Skip(current_ == nullptr ? skipped->name : current_->prefix + skipped->name,
         skipped->sys_errno != ENOENT);
    return {};
  }
  return Fail(Code::kBadGateway, "the agent sent what is no part of a walk");
}

void TreeBuilder::Skip(const std::string& path, bool is_there) {
  ++result_.skipped;
  if (is_there) LeaveOut(path);
  if (result_.skipped_paths.size() < kMaxSkippedPaths) result_.skipped_paths.push_back(path);
}

void TreeBuilder::LeaveOut(const std::string& path) {
  std::vector<std::string>& paths = result_.left_out;
  left_out_bytes_ += path.size();
  paths.push_back(path);
  if (paths.size() <= kMaxLeftOut && left_out_bytes_ <= kMaxLeftOutBytes) return;
  FitLeftOut(paths, 0, {.count = kMaxLeftOut / 2, .bytes = kMaxLeftOutBytes / 2});
  left_out_bytes_ = 0;
  for (const std::string& one : paths) left_out_bytes_ += one.size();
}

Result<void> TreeBuilder::OnEntry(TreeEntry entry) {
  if (root_ && current_ == nullptr) {
    return Fail(Code::kBadGateway, "the agent sent an entry behind the end of the directory");
  }
  std::string name = entry.name;
  auto node = NodeOf(std::move(entry));
  if (!root_) {
    if (!node || node->type != NodeType::kDirectory) {
      return Fail(Code::kFailedPrecondition, "it is no directory", "NOT_A_DIRECTORY");
    }
    return Enter(*std::move(node), nullptr);
  }
  if (!node) {
    Skip(current_->prefix + name, true);
    return {};
  }
  const Node* old = FindOld(*current_, node->name);
  // Names come in order: a file that this one does not begin with is complete.
  while (!current_->undecided.empty() && !node->name.starts_with(current_->undecided.back().name)) {
    Decide(*current_, current_->undecided.back());
    current_->undecided.pop_back();
  }
  if (node->type == NodeType::kDirectory) return Enter(*std::move(node), old);
  ++files_seen_;
  if (node->type == NodeType::kFile) {
    bytes_seen_ += node->size;
    OnFile(*std::move(node), old);
  } else {
    TreeDirectory& directory = *current_;
    directory.at(AddSlot(directory, *std::move(node))).ready = true;
  }
  return Advance(current_);
}

const Node* TreeBuilder::FindOld(TreeDirectory& directory, std::string_view name) {
  if (!directory.old) return nullptr;
  const auto& old = *directory.old;
  while (directory.merged < old.size() && old[directory.merged].name < name) ++directory.merged;
  if (directory.merged == old.size() || old[directory.merged].name != name) return nullptr;
  return &old[directory.merged];
}

uint64_t TreeBuilder::AddSlot(TreeDirectory& directory, Node node) {
  TreeSlot slot;
  slot.declared = node.size;
  slot.node = std::move(node);
  declared_ += slot.declared;
  ++slots_;
  directory.slots.push_back(std::move(slot));
  return directory.first_slot + directory.slots.size() - 1;
}

Result<void> TreeBuilder::Enter(Node node, const Node* old) {
  auto directory = std::make_unique<TreeDirectory>();
  std::optional<Id> old_id;
  if (current_ == nullptr) {
    if (parent_) old_id = parent_->tree;
    node.ctime = {};
    node.inode = 0;
    root_node_ = std::move(node);
  } else {
    if (old != nullptr && old->type == NodeType::kDirectory) old_id = old->subtree;
    directory->parent = current_;
    directory->prefix = current_->prefix + node.name + "/";
    directory->slot = AddSlot(*current_, std::move(node));
  }
  if (old_id) {
    ASSIGN(directory->old, LoadParentTree(repository_, *old_id, hooks_.stop));
    directory->old_id = old_id;
  }
  TreeDirectory* entered = directory.get();
  if (current_ == nullptr) {
    root_ = std::move(directory);
  } else {
    current_->at(directory->slot).child = std::move(directory);
  }
  current_ = entered;
  return {};
}

Result<void> TreeBuilder::Leave() {
  if (current_ == nullptr) return Fail(Code::kBadGateway, "the agent left what it had not entered");
  TreeDirectory* left = current_;
  DecideAll(*left);
  left->left = true;
  current_ = left->parent;
  return Advance(left);
}

// A database and what belongs to it are read together when any of them has changed. Names that
// begin with X follow X at once, so X is decided when another one comes.
void TreeBuilder::OnFile(Node node, const Node* old) {
  TreeDirectory& directory = *current_;
  std::string name = node.name;
  uint64_t slot = AddSlot(directory, std::move(node));
  directory.at(slot).was_there = old != nullptr && old->type == NodeType::kFile;
  for (Undecided& base : directory.undecided) {
    if (!BelongsTo(name, base.name)) continue;
    base.slots.push_back(slot);
    base.old.push_back(old);
    return;
  }
  directory.undecided.push_back({.name = std::move(name), .slots = {slot}, .old = {old}});
}

bool TreeBuilder::CanCopy(const std::string& prefix, const Node& node, const Node* old) const {
  if (old == nullptr || old->type != NodeType::kFile || node.size != old->size ||
      node.mtime != old->mtime) {
    return false;
  }
  // What restic wrote says itself which file it read.
  bool same = old->ctime != repository::Time() && node.ctime == old->ctime &&
              node.inode == old->inode && IsSettled(node.ctime, parent_->record.time);
  if (!same && hooks_.known) {
    same = hooks_.known->Has(prefix + node.name, old->content, node.inode, node.ctime);
  }
  if (!same) return false;
  return std::ranges::all_of(old->content, [this](const Id& id) {
    return session_.Has({.type = BlobType::kData, .id = id});
  });
}

void TreeBuilder::Decide(TreeDirectory& directory, const Undecided& file) {
  auto nothing_to_read = [&](size_t i) {
    const Node& node = directory.at(file.slots[i]).node;
    return (node.size == 0 && file.slots.size() == 1) ||
           CanCopy(directory.prefix, node, file.old[i]);
  };
  bool read = false;
  for (size_t i = 0; i < file.slots.size() && !read; ++i) read = !nothing_to_read(i);
  FileGroup group;
  for (size_t i = 0; i < file.slots.size(); ++i) {
    TreeSlot& slot = directory.at(file.slots[i]);
    if (read) {
      group.push_back({.path = directory.prefix + slot.node.name,
                       .size = slot.node.size,
                       .directory = &directory,
                       .slot = file.slots[i]});
      batch_bytes_ += slot.node.size;
      continue;
    }
    bool known = CanCopy(directory.prefix, slot.node, file.old[i]);
    if (known) slot.node.content = file.old[i]->content;
    ++(known            ? summary_.files_unmodified
       : slot.was_there ? summary_.files_changed
                        : summary_.files_new);
    bytes_unchanged_ += slot.node.size;
    slot.ready = true;
  }
  if (!read) return;
  waiting_ += group.size();
  batch_files_ += group.size();
  batch_.push_back(std::move(group));
  if (batch_files_ >= kBatchFiles || batch_bytes_ >= kBatchBytes) SendBatch();
}

void TreeBuilder::DecideAll(TreeDirectory& directory) {
  for (const Undecided& file : directory.undecided) Decide(directory, file);
  directory.undecided.clear();
}

void TreeBuilder::SendBatch() {
  if (batch_.empty()) return;
  batch_files_ = 0;
  batch_bytes_ = 0;
  hooks_.read(std::exchange(batch_, {}));
}

bool TreeBuilder::Full() const {
  return waiting_ > 0 && (waiting_ > kMaxWaiting || slots_ > kMaxSlots || declared_ > kMaxDeclared);
}

Result<void> TreeBuilder::OnAnswer(FileAnswer answer) {
  --waiting_;
  auto& directory = *static_cast<TreeDirectory*>(answer.file.directory);
  TreeSlot& slot = directory.at(answer.file.slot);
  slot.ready = true;
  if (answer.sys_errno != 0) {
    slot.dropped = true;
    Skip(answer.file.path, answer.sys_errno != ENOENT && answer.sys_errno != ESTALE);
    return Advance(&directory);
  }
  std::string name = std::move(slot.node.name);
  slot.node = *NodeOf(std::move(answer.entry));
  slot.node.name = std::move(name);
  slot.node.size = answer.size;
  slot.node.content = std::move(answer.content);
  slot.node.content.shrink_to_fit();
  ++(slot.was_there ? summary_.files_changed : summary_.files_new);
  ++result_.files_changed;
  slot.mixed = answer.changed;
  if (answer.changed) ++result_.changed_while_read;
  return Advance(&directory);
}

Result<void> TreeBuilder::Advance(TreeDirectory* directory) {
  while (true) {
    // What waits for names that may belong to it is not waited for without end.
    if (slots_ > kMaxSlots && waiting_ == 0 && !directory->left) DecideAll(*directory);
    while (!directory->slots.empty() && directory->slots.front().ready) {
      TreeSlot slot = std::move(directory->slots.front());
      directory->slots.pop_front();
      ++directory->first_slot;
      --slots_;
      declared_ -= slot.declared;
      if (!slot.dropped) TRY(Emit(*directory, std::move(slot)));
    }
    if (!directory->left || !directory->slots.empty()) return {};
    ASSIGN(Id id, Finish(*directory));
    TreeDirectory* parent = directory->parent;
    if (parent == nullptr) {
      root_id_ = id;
      return {};
    }
    TreeSlot& slot = parent->at(directory->slot);
    slot.node.subtree = id;
    slot.ready = true;
    slot.child.reset();
    directory = parent;
  }
}

Result<void> TreeBuilder::Emit(TreeDirectory& directory, TreeSlot slot) {
  if (slot.node.type != NodeType::kDirectory) {
    ++result_.files;
    if (slot.node.type == NodeType::kFile) {
      ++summary_.total_files_processed;
      result_.bytes_total += slot.node.size;
    }
  }
  if (slot.mixed) slot.node.ctime = hooks_.begin;
  Note(directory, slot.node);
  if (!directory.writer) {
    if (directory.old && directory.same < directory.old->size() &&
        SameNode((*directory.old)[directory.same], slot.node)) {
      ++directory.same;
      return {};
    }
    directory.writer = std::make_unique<TreeWriter>(repository_, session_, budget_);
    for (size_t i = 0; i < directory.same; ++i) {
      TRY(directory.writer->Add((*directory.old)[i].Clone()));
    }
  }
  return directory.writer->Add(std::move(slot.node));
}

// Trees of several sandboxes, and of one before and after a restore, are the same where their
// content is. Names of one file need its number to be told from copies.
void TreeBuilder::Note(const TreeDirectory& directory, Node& node) {
  if (node.type == NodeType::kFile && IsSettled(node.ctime, hooks_.begin)) {
    known_.push_back({.path = HashOfPath(directory.prefix + node.name),
                      .content = HashOfContent(node.content),
                      .inode = node.inode,
                      .ctime = node.ctime});
  }
  node.ctime = {};
  if (node.type != NodeType::kFile || node.links < 2) node.inode = 0;
}

Result<Id> TreeBuilder::Finish(TreeDirectory& directory) {
  if (!directory.writer && directory.old && directory.same == directory.old->size() &&
      session_.Has({.type = BlobType::kTree, .id = *directory.old_id})) {
    ++summary_.dirs_unmodified;
    return *directory.old_id;
  }
  ++(directory.old ? summary_.dirs_changed : summary_.dirs_new);
  if (!directory.writer) {
    directory.writer = std::make_unique<TreeWriter>(repository_, session_, budget_);
    for (size_t i = 0; i < directory.same; ++i) {
      TRY(directory.writer->Add((*directory.old)[i].Clone()));
    }
  }
  auto id = directory.writer->Finish();
  if (!id) return Unexpected(std::move(id).error().Wrap("cannot store " + directory.prefix));
  directory.writer.reset();
  directory.old.reset();
  return id;
}

}  // namespace atl::snapshot
