// SPDX-License-Identifier: Apache-2.0
// The files of a sandbox, for whatever dialect offers them. Paths are absolute or relative to
// /workspace and are looked up by the agent, inside, as the sandbox's root or as the `user` of a
// request; nothing on the host follows one. Failures carry the reasons that clients see:
// FILE_NOT_FOUND, IS_DIRECTORY, NOT_DIRECTORY, PERMISSION_DENIED, READ_ONLY, FILE_EXISTS,
// NAME_TOO_LONG, NO_SPACE, NOT_REGULAR_FILE, TOO_MANY_LINKS, DIRECTORY_NOT_EMPTY, RESOURCE_BUSY,
// USER_NOT_FOUND.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/runtime.h"
#include "async/task.h"
#include "base/result.h"
#include "protocol/files.h"
#include "sandbox/agent_client.h"

namespace atl::sandbox {

using protocol::FileEntry;
using protocol::FileInfo;
using protocol::FileKind;

// What is asked for: each request is described where it goes over the wire.
using protocol::CopyFile;
using protocol::ListFiles;
using protocol::MakeDir;
using protocol::MoveFile;
using protocol::ReadFile;
using protocol::RemoveFile;
using protocol::SetFile;
using protocol::StatFile;
using protocol::WriteFile;

// "file", "directory", "symlink", "fifo", "socket", "device"
std::string_view KindName(FileKind kind);
// Milliseconds since 1970.
int64_t ModifiedMs(const FileInfo& info);
// The absolute path that is meant: "a/b" is "/workspace/a/b". VALIDATION_FAILED, NAME_TOO_LONG.
Result<std::string> AbsolutePath(std::string_view path);

// Content of a regular file as it comes. Memory is one piece, whatever the size.
class FileReader {
 public:
  virtual ~FileReader() = default;
  virtual const FileInfo& info() const = 0;
  // The size is what will come, unless the file shrinks, which is then an error. Otherwise (files
  // of the kernel) content comes until it ends, and the size says nothing.
  virtual bool sized() const = 0;
  // Before the first Next: only these bytes. Of a sized file they must be in it.
  virtual void SetRange(uint64_t offset, uint64_t length) = 0;
  // The first bytes of a sized file, at most `size`; does not move anything.
  virtual async::Task<Result<std::string>> Peek(size_t size) = 0;
  // The next piece, "" at the end. Valid until the next call.
  virtual async::Task<Result<std::string_view>> Next() = 0;
};

// A file that is being made or replaced. Nobody sees anything of it until Commit, unless it is
// appended to; destroying it before gives it up.
class FileWriter {
 public:
  virtual ~FileWriter() = default;
  virtual bool existed() const = 0;
  virtual async::Task<Result<void>> Write(std::string_view bytes) = 0;
  virtual async::Task<Result<FileInfo>> Commit() = 0;
};

// `pool`: where reading and writing may wait for a disk.
async::Task<Result<std::unique_ptr<FileReader>>> OpenFile(AgentClient& agent,
                                                          async::BlockingPool& pool,
                                                          ReadFile request);
// `owner`: whom it will belong to: "user", "user:group" or ":group"; empty: as it comes.
async::Task<Result<std::unique_ptr<FileWriter>>> CreateFile(AgentClient& agent,
                                                            async::BlockingPool& pool,
                                                            WriteFile request,
                                                            std::string owner = {});

// A whole file of at most `limit` bytes (FILE_TOO_LARGE), and the whole of a new one.
struct FileContent {
  FileInfo info;
  std::string bytes;
};
async::Task<Result<FileContent>> ReadWholeFile(AgentClient& agent, async::BlockingPool& pool,
                                               ReadFile request, size_t limit);
async::Task<Result<FileInfo>> WriteWholeFile(AgentClient& agent, async::BlockingPool& pool,
                                             WriteFile request, std::string_view bytes);

async::Task<Result<FileInfo>> Stat(AgentClient& agent, StatFile request);
// False for what is not there, also where a part of the path is no directory.
async::Task<Result<bool>> Exists(AgentClient& agent, StatFile request);
async::Task<Result<FileInfo>> Make(AgentClient& agent, MakeDir request);
async::Task<Result<FileInfo>> Move(AgentClient& agent, MoveFile request);
async::Task<Result<FileInfo>> Copy(AgentClient& agent, CopyFile request);
async::Task<Result<void>> Remove(AgentClient& agent, RemoveFile request);
// Mode and owner.
async::Task<Result<FileInfo>> Set(AgentClient& agent, SetFile request);

inline constexpr uint32_t kMostListed = 50'000;
inline constexpr uint32_t kAnyDepth = 512;

struct Listing {
  std::string dir;                 // the absolute path that was listed
  std::vector<FileEntry> entries;  // paths relative to it, at most request.limit
  bool more = false;               // ask again, `after` the path of the last one
  uint64_t skipped = 0;            // what could not be read
};
async::Task<Result<Listing>> List(AgentClient& agent, ListFiles request);

}  // namespace atl::sandbox
