// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <deque>
#include <optional>

#include "snapshot/agent_link.h"
#include "snapshot/agent_tree.h"

namespace atl::snapshot {
namespace {

using protocol::FrameType;

constexpr uint64_t kMaxFileBytes = 1ULL << 50U;
constexpr size_t kRequestBytes = 128U << 10U;

class AgentFileReader : public FileReader {
 public:
  explicit AgentFileReader(std::unique_ptr<AgentLink> link) : link_(std::move(link)) {}

  Result<void> Request(std::span<const protocol::WantFile> files) override;
  Result<protocol::TreeRecord> Next() override;

 private:
  struct File {
    uint64_t size = 0;
    uint64_t at = 0;
  };

  Result<void> Send(protocol::RecordWriter* writer);
  Result<protocol::TreeRecord> NextRecord();
  Result<void> Check(const protocol::TreeRecord& record);
  Result<void> CheckBegin(const protocol::FileBegin& begin);
  Result<void> CheckEnd(const protocol::FileEnd& end);
  Result<void> Advance(uint64_t length);

  std::unique_ptr<AgentLink> link_;
  std::deque<uint32_t> wanted_;  // tags of files that have not ended
  std::optional<File> file_;     // the first of them, once it has begun
  protocol::RecordReader records_{std::string_view()};
};

Result<void> AgentFileReader::Request(std::span<const protocol::WantFile> files) {
  // The agent takes requests even while nobody reads what it sends: so this cannot wait for ever.
  protocol::RecordWriter writer;
  for (const protocol::WantFile& file : files) {
    if (!protocol::IsTreePath(file.path)) {
      return Fail(Code::kInvalidArgument, "a path of a file is not usable: " + file.path);
    }
    writer.Add(file);
    wanted_.push_back(file.tag);
    if (writer.size() >= kRequestBytes) TRY(Send(&writer));
  }
  return writer.empty() ? Result<void>() : Send(&writer);
}

Result<void> AgentFileReader::Send(protocol::RecordWriter* writer) {
  auto sent = link_->SendData(FrameType::kTree, writer->payload());
  // To say why, the link has read on: the current frame is gone.
  if (!sent) records_ = protocol::RecordReader({});
  writer->Clear();
  return sent;
}

Result<protocol::TreeRecord> AgentFileReader::Next() {
  if (wanted_.empty()) return Fail(Code::kInternal, "no file was asked for");
  ASSIGN(protocol::TreeRecord record, NextRecord());
  TRY(Check(record));
  return record;
}

Result<protocol::TreeRecord> AgentFileReader::NextRecord() {
  while (true) {
    auto record = records_.Next();
    if (!record) return BadAgent(record.error().message);
    if (*record) return *std::move(*record);
    ASSIGN(protocol::Frame frame, link_->Next());
    if (frame.type != FrameType::kTree) return BadAgent("a frame that is no part of a file");
    records_ = protocol::RecordReader(frame.payload);
  }
}

Result<void> AgentFileReader::Check(const protocol::TreeRecord& record) {
  if (const auto* begin = std::get_if<protocol::FileBegin>(&record)) return CheckBegin(*begin);
  if (const auto* end = std::get_if<protocol::FileEnd>(&record)) return CheckEnd(*end);
  if (const auto* hole = std::get_if<protocol::FileHole>(&record)) return Advance(hole->length);
  const auto* bytes = std::get_if<protocol::FileBytes>(&record);
  if (bytes == nullptr) return BadAgent("a record that is no part of a file");
  if (!file_ || bytes->tag != wanted_.front() || bytes->offset != file_->at) {
    return BadAgent("bytes that belong elsewhere");
  }
  return Advance(bytes->bytes.size());
}

Result<void> AgentFileReader::CheckBegin(const protocol::FileBegin& begin) {
  if (file_ || begin.tag != wanted_.front()) return BadAgent("a file that was not asked for");
  if (!S_ISREG(begin.entry.meta.mode)) return BadAgent("content of what is no regular file");
  if (begin.entry.size > kMaxFileBytes) return BadAgent("a file of more than 1 PiB");
  file_ = File{.size = begin.entry.size};
  return {};
}

Result<void> AgentFileReader::CheckEnd(const protocol::FileEnd& end) {
  if (end.tag != wanted_.front()) return BadAgent("the end of a file that was not asked for");
  if (!file_ && end.sys_errno == 0) return BadAgent("the end of a file that did not begin");
  if (file_ && end.sys_errno == 0 && !end.changed && file_->at != file_->size) {
    return BadAgent("a file with less content than it has");
  }
  wanted_.pop_front();
  file_.reset();
  return {};
}

Result<void> AgentFileReader::Advance(uint64_t length) {
  if (!file_) return BadAgent("content outside of a file");
  if (length == 0 || length > file_->size - file_->at) {
    return BadAgent("a file with more content than it has");
  }
  file_->at += length;
  return {};
}

}  // namespace

Result<std::unique_ptr<FileReader>> AgentTree::OpenReader(const std::string& dir,
                                                          std::stop_token stop) {
  ASSIGN(auto link, AgentLink::Open(connect_, idle_limit_, std::move(stop)));
  TRY(link->Send(protocol::ReadFiles{.dir = dir}));
  return std::make_unique<AgentFileReader>(std::move(link));
}

}  // namespace atl::snapshot
