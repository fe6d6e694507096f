// SPDX-License-Identifier: Apache-2.0
// Frames and messages from a hostile peer: nothing may crash, and what is accepted must come out
// the same when it is encoded again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "protocol/messages.h"
#include "protocol/terminal.h"
#include "protocol/tree.h"

namespace {

using namespace atl::protocol;

template <class M>
void Check(const Frame& frame) {
  auto message = Decode<M>(frame.payload);
  if (!message) return;
  auto again = Encode(*message);
  if (!again || std::string_view(*again).substr(kHeaderBytes) != frame.payload) std::abort();
}

template <class... Messages>
void CheckAll(const Frame& frame) {
  ((frame.type == Messages::kType ? Check<Messages>(frame) : void()), ...);
}

void Write(RecordWriter* writer, const FileBytes& bytes) {
  writer->AddBytes(bytes.tag, bytes.offset, bytes.bytes);
}
template <class R>
void Write(RecordWriter* writer, const R& record) {
  writer->Add(record);
}

void CheckRecords(std::string_view payload) {
  RecordReader reader(payload);
  RecordWriter writer;
  while (true) {
    auto record = reader.Next();
    if (record && *record) std::visit([&](const auto& it) { Write(&writer, it); }, **record);
    if (!record || !*record) {
      if (record && writer.payload() != payload) std::abort();
      if (!payload.starts_with(writer.payload())) std::abort();
      return;
    }
  }
}

// Feeds the bytes in pieces of a size that the input chooses.
size_t CountFrames(std::string_view bytes, size_t piece) {
  FrameParser parser;
  size_t count = 0;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    parser.Feed(bytes.substr(at, piece));
    while (true) {
      auto frame = parser.Next();
      if (!frame) return count;
      if (!*frame) break;
      ++count;
      CheckAll<Hello, Spawn, Attach, ListProcesses, Signal, Dial, Ping, SignalProcess, Started,
               Exited, End, Processes, Attached, Dialed, Ok, Failure, Walk, WalkEnd, ReadFiles,
               Restore, Staged, Commit, StageWrite, OpenTerminal, ListTerminals, CloseTerminal,
               ResizeTerminal, TerminalOpened, TerminalSkipped, Terminals>(**frame);
      if ((*frame)->type == FrameType::kTree) CheckRecords((*frame)->payload);
    }
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t piece = static_cast<size_t>(data[0]) + 1;
  // How the bytes are cut must make no difference.
  if (CountFrames(bytes, piece) != CountFrames(bytes, bytes.size() + 1)) std::abort();
  return 0;
}
