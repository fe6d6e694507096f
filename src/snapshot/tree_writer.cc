// SPDX-License-Identifier: Apache-2.0
#include "snapshot/tree_writer.h"

#include <utility>

#include "snapshot/chunk_pool.h"

namespace atl::snapshot {

using repository::BlobType;
using repository::Id;
using repository::Node;

namespace {

constexpr size_t kMaxHeldHere = 8U << 20U;
constexpr size_t kMaxHeldOverAll = 32U << 20U;

size_t CostOf(const Node& node) {
  size_t cost = sizeof(Node) + node.name.size() + node.content.size() * sizeof(Id);
  if (node.extra) {
    cost += sizeof(Node::Extra) + node.extra->link_target.size();
    for (const auto& [name, value] : node.extra->xattrs) cost += 64 + name.size() + value.size();
  }
  return cost;
}

}  // namespace

struct TreeWriter::Stream {
  repository::BlobSealer sealer{BlobType::kTree};
  repository::TreeEncoder encoder{[this](std::string_view piece) { return sealer.Append(piece); }};
};

TreeWriter::TreeWriter(repository::Repository& repository, repository::Session& session,
                       NodeBudget& budget)
    : repository_(repository), session_(session), budget_(budget) {}

TreeWriter::~TreeWriter() { budget_.held -= held_; }

Result<void> TreeWriter::StartStream() {
  stream_ = std::make_unique<Stream>();
  for (const Node& node : nodes_) TRY(stream_->encoder.Add(node));
  nodes_ = std::vector<Node>();
  budget_.held -= std::exchange(held_, 0);
  return {};
}

Result<void> TreeWriter::Add(Node node) {
  if (stream_) return stream_->encoder.Add(node);
  size_t cost = CostOf(node);
  held_ += cost;
  budget_.held += cost;
  nodes_.push_back(std::move(node));
  if (held_ > kMaxHeldHere || budget_.held > kMaxHeldOverAll) return StartStream();
  return {};
}

Result<Id> TreeWriter::Finish() {
  if (stream_) {
    TRY(stream_->encoder.Finish());
    ASSIGN(repository::SealedBlob sealed, stream_->sealer.Finish(repository_.key()));
    stream_.reset();
    Id id = sealed.handle.id;
    TRY(session_.Save(std::move(sealed)));
    return id;
  }
  std::string json;
  repository::TreeEncoder encoder([&json](std::string_view piece) -> Result<void> {
    json += piece;
    return {};
  });
  for (const Node& node : nodes_) TRY(encoder.Add(node));
  TRY(encoder.Finish());
  ASSIGN(Id id, StoreBlob(session_, BlobType::kTree, json));
  repository_.RememberTree(id, std::make_shared<const std::vector<Node>>(std::move(nodes_)));
  return id;
}

}  // namespace atl::snapshot
