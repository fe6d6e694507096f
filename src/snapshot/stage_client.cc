// SPDX-License-Identifier: Apache-2.0
// The client of Restore and StageWrite.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include "snapshot/agent_link.h"
#include "snapshot/agent_tree.h"

namespace atl::snapshot {
namespace {

using protocol::FrameType;

constexpr size_t kFrameBytes = 256U << 10U;
constexpr std::chrono::seconds kAbandonLimit{10};

// Records on their way, a frame at a time. The first failure is final.
class RecordSender {
 public:
  explicit RecordSender(AgentLink* link) : link_(link) {}

  template <class R>
  Result<void> Add(const R& record) {
    if (failed_) return Unexpected(*failed_);
    records_.Add(record);
    return records_.size() < kFrameBytes ? Result<void>() : Flush();
  }
  Result<void> AddBytes(uint32_t tag, uint64_t offset, std::string_view bytes) {
    if (failed_) return Unexpected(*failed_);
    while (!bytes.empty()) {
      size_t piece = std::min(bytes.size(), kFrameBytes);
      records_.AddBytes(tag, offset, bytes.substr(0, piece));
      if (records_.size() >= kFrameBytes) TRY(Flush());
      offset += piece;
      bytes.remove_prefix(piece);
    }
    return {};
  }
  // Sends what is left, the end mark, and waits for the answer.
  template <class M>
  Result<M> Finish() {
    if (!failed_ && !records_.empty()) (void)Flush();
    if (failed_) return Unexpected(*failed_);
    auto answer = [&]() -> Result<M> {
      TRY(link_->SendData(FrameType::kTreeEnd, {}));
      return link_->Expect<M>();
    }();
    if (!answer) failed_ = answer.error();
    return answer;
  }

 private:
  Result<void> Flush() {
    auto sent = [&]() -> Result<void> {
      // An agent that has given up says so while it is still being sent to.
      ASSIGN(auto early, link_->Poll());
      if (early) return BadAgent("an answer before the end of the records");
      return link_->SendData(FrameType::kTree, records_.payload());
    }();
    records_.Clear();
    if (!sent) failed_ = sent.error();
    return sent;
  }

  AgentLink* link_;
  protocol::RecordWriter records_;
  std::optional<Error> failed_;
};

class LinkStageWriter : public StageWriter {
 public:
  explicit LinkStageWriter(std::unique_ptr<AgentLink> link)
      : link_(std::move(link)), records_(link_.get()) {}

  Result<void> Dir(const protocol::StageDir& record) override { return records_.Add(record); }
  Result<void> File(const protocol::StageFile& record) override { return records_.Add(record); }
  Result<void> Bytes(uint32_t tag, uint64_t offset, std::string_view bytes) override {
    return records_.AddBytes(tag, offset, bytes);
  }
  Result<void> End(uint32_t tag) override { return records_.Add(protocol::StageEnd{.tag = tag}); }
  Result<void> Special(const protocol::StageSpecial& record) override {
    return records_.Add(record);
  }
  Result<void> Meta(const protocol::StageMeta& record) override { return records_.Add(record); }
  Result<protocol::End> Finish() override { return records_.Finish<protocol::End>(); }

 private:
  std::unique_ptr<AgentLink> link_;
  RecordSender records_;
};

// Says that nothing more comes and waits until the agent has put the directory in order: what comes
// next finds neither its lock nor its stage.
void EndAndWait(int socket) {
  shutdown(socket, SHUT_WR);
  auto deadline = std::chrono::steady_clock::now() + kAbandonLimit;
  std::array<char, 4096> rest{};
  while (true) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{.fd = socket, .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) == 0) return;
    ssize_t count = recv(socket, rest.data(), rest.size(), MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return;
  }
}

class LinkStage : public Stage {
 public:
  struct Where {
    std::string dir;
    AgentLink::Connect connect;
    std::chrono::milliseconds idle_limit;
    std::stop_token stop;
  };

  LinkStage(Where where, std::unique_ptr<AgentLink> link, sys::Fd socket, protocol::Staged staged)
      : where_(std::move(where)),
        link_(std::move(link)),
        socket_(std::move(socket)),
        staged_(std::move(staged)) {}
  ~LinkStage() override {
    link_.reset();
    if (!end_) EndAndWait(socket_.get());
  }

  uint64_t free_bytes() const override { return staged_.free_bytes; }

  Result<std::unique_ptr<StageWriter>> OpenWriter() override {
    ASSIGN(auto link, AgentLink::Open(where_.connect, where_.idle_limit, where_.stop));
    TRY(link->Send(protocol::StageWrite{.dir = where_.dir, .stage = staged_.stage}));
    return std::make_unique<LinkStageWriter>(std::move(link));
  }

  Result<void> Prepare(std::span<const protocol::Change> changes) override {
    RecordSender records(link_.get());
    for (const protocol::Change& change : changes) TRY(records.Add(change));
    TRY(records.Finish<protocol::Ok>());
    return {};
  }

  Result<void> Commit() override {
    TRY(link_->Send(protocol::Commit{}));
    ASSIGN(protocol::Frame frame, link_->Next());
    // When the agent's process was killed, the one that finished may have lost the first answer.
    if (frame.type == FrameType::kEnd) {
      ASSIGN(end_, protocol::Decode<protocol::End>(frame.payload));
      return {};
    }
    TRY(protocol::Expect<protocol::Ok>(frame));
    return {};
  }

  Result<protocol::End> Finish() override {
    while (!end_) {
      ASSIGN(protocol::Frame frame, link_->Next());
      if (frame.type == FrameType::kOk && !repeated_) {
        repeated_ = true;
        continue;
      }
      ASSIGN(end_, protocol::Expect<protocol::End>(frame));
    }
    return *end_;
  }

 private:
  Where where_;
  std::unique_ptr<AgentLink> link_;
  sys::Fd socket_;  // the link's own, once more
  protocol::Staged staged_;
  std::optional<protocol::End> end_;
  bool repeated_ = false;
};

bool IsStageName(std::string_view name) {
  return name.size() == 16 && name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

Result<std::unique_ptr<Stage>> AgentTree::BeginRestore(const std::string& dir,
                                                       std::stop_token stop) {
  sys::Fd socket;
  auto connect = [&]() -> Result<sys::Fd> {
    ASSIGN(sys::Fd connected, connect_());
    ASSIGN(socket, connected.Duplicate());
    return connected;
  };
  ASSIGN(auto link, AgentLink::Open(connect, idle_limit_, stop));
  TRY(link->Send(protocol::Restore{.dir = dir}));
  ASSIGN(auto staged, link->Expect<protocol::Staged>());
  if (!IsStageName(staged.stage)) return BadAgent("a stage has an impossible name");
  LinkStage::Where where{
      .dir = dir, .connect = connect_, .idle_limit = idle_limit_, .stop = std::move(stop)};
  return std::make_unique<LinkStage>(std::move(where), std::move(link), std::move(socket),
                                     std::move(staged));
}

}  // namespace atl::snapshot
