// SPDX-License-Identifier: Apache-2.0
#include "snapshot/restore_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "crypto/sha256.h"
#include "snapshot/restore_crew.h"

namespace atl::snapshot {

namespace {

using repository::Id;

const std::string& Zeros() {
  static const std::string zeros(1U << 20U, '\0');
  return zeros;
}

void HashZeros(crypto::Sha256& hash, uint64_t length) {
  for (; length > 0; length -= std::min<uint64_t>(length, Zeros().size())) {
    hash.Update(std::string_view(Zeros()).substr(0, length));
  }
}

// Follows a file's content along the blobs that it should consist of.
class ContentCheck {
 public:
  ContentCheck(const repository::Repository& repository, const repository::Node& node)
      : repository_(repository), node_(node) {
    NextBlob();
  }

  void Bytes(std::string_view bytes) {
    while (same_ && !bytes.empty()) {
      std::string_view part = bytes.substr(0, Left());
      if (part.empty()) return SetDifferent();
      hash_->Update(part);
      bytes.remove_prefix(part.size());
      Advance(part.size());
    }
  }

  void Hole(uint64_t length) {
    while (same_ && length > 0) {
      uint64_t part = std::min(length, Left());
      if (part == 0) return SetDifferent();
      if (done_ == 0 && part == length_) {
        if (ZeroId(length_) != node_.content[blob_]) return SetDifferent();
        ++blob_;
        NextBlob();
      } else {
        HashZeros(*hash_, part);
        Advance(part);
      }
      length -= part;
    }
  }

  bool Finish() const { return same_ && blob_ == node_.content.size(); }

 private:
  uint64_t Left() const { return length_ - done_; }
  void SetDifferent() { same_ = false; }

  void NextBlob() {
    done_ = length_ = 0;
    if (blob_ == node_.content.size()) return;
    auto found = repository_.Find({repository::BlobType::kData, node_.content[blob_]});
    if (!found || found->blob.PlainLength() == 0) return SetDifferent();
    length_ = found->blob.PlainLength();
    hash_.emplace();
  }

  void Advance(uint64_t count) {
    done_ += count;
    if (done_ < length_) return;
    if (hash_->Finish() != node_.content[blob_].bytes) return SetDifferent();
    ++blob_;
    NextBlob();
  }

  const repository::Repository& repository_;
  const repository::Node& node_;
  size_t blob_ = 0;
  uint64_t length_ = 0;  // of the current blob
  uint64_t done_ = 0;
  std::optional<crypto::Sha256> hash_;
  bool same_ = true;
};

Result<void> CompareOne(const repository::Repository& repository, FileReader& reader,
                        Candidate& candidate) {
  ContentCheck check(repository, candidate.node);
  while (true) {
    ASSIGN(protocol::TreeRecord record, reader.Next());
    if (auto* bytes = std::get_if<protocol::FileBytes>(&record)) {
      check.Bytes(bytes->bytes);
    } else if (auto* hole = std::get_if<protocol::FileHole>(&record)) {
      check.Hole(hole->length);
    } else if (auto* end = std::get_if<protocol::FileEnd>(&record)) {
      // What cannot be read, or changes meanwhile, is written anew.
      bool same = end->sys_errno == 0 && !end->changed && check.Finish();
      candidate.state = same ? Candidate::State::kSame : Candidate::State::kDifferent;
      return {};
    }
  }
}

}  // namespace

Id ZeroId(uint64_t length) {
  static std::mutex mutex;
  static std::map<uint64_t, Id> known;
  std::lock_guard lock(mutex);
  auto found = known.find(length);
  if (found != known.end()) return found->second;
  crypto::Sha256 hash;
  HashZeros(hash, length);
  if (known.size() > 64) known.clear();
  return known[length] = Id{hash.Finish()};
}

// Only what is compressed to nearly nothing is worth the hash.
bool IsZeroBlob(const repository::PackedBlob& blob) {
  return blob.raw_length > 4096 && blob.length < blob.raw_length / 1000 + 128 &&
         ZeroId(blob.raw_length) == blob.handle.id;
}

Result<void> CompareCandidates(const repository::Repository& repository, AgentTree& tree,
                               const std::string& dir, std::span<Candidate> candidates, int workers,
                               std::stop_token stop) {
  constexpr size_t kBatch = 256;
  std::vector<Candidate*> unknown;
  for (Candidate& candidate : candidates) {
    if (candidate.state == Candidate::State::kUnknown) unknown.push_back(&candidate);
  }
  if (unknown.empty()) return {};
  size_t batches = (unknown.size() + kBatch - 1) / kBatch;
  std::atomic<size_t> next = 0;
  int crew = static_cast<int>(std::min<size_t>(batches, static_cast<size_t>(workers)));
  return RunCrew(crew, stop, [&](int, const std::stop_token& own) -> Result<void> {
    std::unique_ptr<FileReader> reader;
    for (size_t batch = next++; batch < batches && !own.stop_requested(); batch = next++) {
      if (!reader) {
        ASSIGN(reader, tree.OpenReader(dir, own));
      }
      std::span<Candidate*> part(unknown);
      part = part.subspan(batch * kBatch, std::min(kBatch, unknown.size() - batch * kBatch));
      std::vector<protocol::WantFile> wants;
      for (Candidate* candidate : part) {
        wants.push_back({.tag = static_cast<uint32_t>(wants.size()), .path = candidate->path});
      }
      TRY(reader->Request(wants));
      for (Candidate* candidate : part) TRY(CompareOne(repository, *reader, *candidate));
    }
    return {};
  });
}

}  // namespace atl::snapshot
