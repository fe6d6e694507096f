// SPDX-License-Identifier: Apache-2.0
// Reading blobs and trees.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/log.h"
#include "repository/repository_impl.h"
#include "repository/unpacked.h"

namespace atl::repository {
namespace {

std::string NameOf(const BlobHandle& handle) {
  return fmt::format("{} blob {}", BlobTypeName(handle.type), handle.id.Hex());
}

// What the index says must be possible before so much memory is asked for.
bool IsPossible(const PackedBlob& blob) {
  const uint64_t most = blob.handle.type == BlobType::kData ? kMaxDataBlob : kMaxPackBytes;
  return blob.length >= kSealOverhead && blob.length <= most + kSealOverhead + (1U << 16U);
}

// True for what is wrong with the pack itself, so that another one may help.
bool IsDamage(const Error& error) {
  return IsCorrupt(error) || error.code == Code::kNotFound || error.code == Code::kTooLarge ||
         error.reason == "CIPHERTEXT_CORRUPT";
}

}  // namespace

std::optional<Repository::Location> RepositoryImpl::Find(BlobHandle handle) const {
  const auto found = index_.Find(handle);
  if (!found) return std::nullopt;
  return Location{.pack = found->pack, .blob = found->blob};
}

Result<std::string> RepositoryImpl::ReadPack(const Id& pack, uint64_t offset, uint64_t length,
                                             bool keep, std::stop_token stop) {
  ASSIGN(auto part, packs_.Read(pack, offset, length, keep, index_.PackEnd(pack), stop));
  return std::move(part.bytes);
}

Result<void> RepositoryImpl::WithBlob(
    const BlobHandle& handle, const std::stop_token& stop,
    const std::function<Result<void>(const PackedBlob& blob, std::string_view sealed)>& use) {
  const auto locations = index_.FindAll(handle);
  if (locations.empty()) {
    return Fail(Code::kInternal,
                fmt::format("{}: no index names the {}", store_->name(), NameOf(handle)),
                "BLOB_MISSING");
  }
  const bool keep = handle.type == BlobType::kTree;
  Error last;
  for (const auto& [pack, blob] : locations) {
    // Twice: what the cache has may be damaged where the store's is not.
    for (int attempt = 0; attempt < 2; ++attempt) {
      bool cached = false;
      Result<void> used;
      if (!IsPossible(blob)) {
        used = Fail(Code::kInternal, fmt::format("the index says {} bytes", blob.length),
                    std::string(kCorrupt));
      } else {
        auto part = packs_.Read(pack, blob.offset, blob.length, keep, index_.PackEnd(pack), stop);
        cached = part && part->cached;
        used =
            part ? use(blob, part->bytes) : Result<void>(std::unexpected(std::move(part).error()));
      }
      if (used) return {};
      if (!IsDamage(used.error())) return used;
      last =
          Fail(Code::kInternal,
               fmt::format("{} in pack {}: {}", NameOf(handle), pack.Hex(), used.error().message),
               std::string(kCorrupt))
              .error();
      log::Warning("{}: {}", store_->name(), last.message);
      if (!cached) break;
      packs_.Drop(pack);
    }
  }
  return std::unexpected(std::move(last));
}

Result<std::string> RepositoryImpl::Load(BlobHandle handle, std::stop_token stop) {
  std::string plain;
  TRY(WithBlob(handle, stop, [&](const PackedBlob& blob, std::string_view sealed) -> Result<void> {
    ASSIGN(plain, OpenBlob(key_, blob, sealed));
    return {};
  }));
  return plain;
}

Result<Repository::Tree> RepositoryImpl::LoadTree(const Id& tree, std::stop_token stop) {
  if (Tree cached = trees_.Find(tree)) return cached;
  std::vector<Node> nodes;
  TRY(ForEachNode(
      tree,
      [&](Node node) -> Result<void> {
        nodes.push_back(std::move(node));
        return {};
      },
      std::move(stop)));
  nodes.shrink_to_fit();
  auto shared = std::make_shared<const std::vector<Node>>(std::move(nodes));
  trees_.Put(tree, shared);
  return Tree(std::move(shared));
}

Result<void> RepositoryImpl::ForEachNode(const Id& tree, const TreeDecoder::OnNode& on_node,
                                         std::stop_token stop) {
  bool given = false;
  std::optional<Error> stopped;
  const auto use = [&](const PackedBlob& blob, std::string_view sealed) -> Result<void> {
    TreeDecoder decoder([&](Node node) -> Result<void> {
      given = true;
      auto taken = on_node(std::move(node));
      if (!taken) stopped = taken.error();
      return taken;
    });
    Result<void> read =
        OpenBlobTo(key_, blob, sealed, [&](std::string_view piece) { return decoder.Feed(piece); });
    if (read) read = decoder.Finish();
    // What the caller has got cannot be taken back: another pack does not help any more.
    if (!read && given && !stopped) {
      stopped = std::move(read).error().Wrap(fmt::format("tree {}", tree.Hex()));
      return std::unexpected(*stopped);
    }
    return read;
  };
  auto done = WithBlob({.type = BlobType::kTree, .id = tree}, stop, use);
  if (stopped) return std::unexpected(std::move(*stopped));
  return done;
}

}  // namespace atl::repository
