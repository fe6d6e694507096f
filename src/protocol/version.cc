// SPDX-License-Identifier: Apache-2.0
// What this end of the protocol understands. In a file of its own: an agent of an earlier release,
// which the tests build, has another in its place.
#include "protocol/frame.h"
#include "protocol/messages.h"

namespace atl::protocol {

Versions Understood() { return {.oldest = kOldestVersion, .newest = kVersion}; }

bool IsKnown(FrameType type) {
  // Without a default: the compiler names an enumerator that is forgotten here.
  switch (type) {
    case FrameType::kHello:
    case FrameType::kSpawn:
    case FrameType::kAttach:
    case FrameType::kList:
    case FrameType::kSignal:
    case FrameType::kDial:
    case FrameType::kPing:
    case FrameType::kWalk:
    case FrameType::kReadFiles:
    case FrameType::kRestore:
    case FrameType::kStageWrite:
    case FrameType::kConfigure:
    case FrameType::kPark:
    case FrameType::kBecomeCopy:
    case FrameType::kStdinEnd:
    case FrameType::kSignalProcess:
    case FrameType::kTreeEnd:
    case FrameType::kCommit:
    case FrameType::kStarted:
    case FrameType::kExited:
    case FrameType::kEnd:
    case FrameType::kProcesses:
    case FrameType::kAttached:
    case FrameType::kDialed:
    case FrameType::kOk:
    case FrameType::kError:
    case FrameType::kWalkEnd:
    case FrameType::kStaged:
    case FrameType::kStdin:
    case FrameType::kStdout:
    case FrameType::kStderr:
    case FrameType::kRelay:
    case FrameType::kTree:
    case FrameType::kRelayEnd:
    case FrameType::kExec:
    case FrameType::kProcessStart:
    case FrameType::kServiceStart:
    case FrameType::kProcessList:
    case FrameType::kProcessGet:
    case FrameType::kProcessLogs:
    case FrameType::kProcessSignal:
    case FrameType::kProcessStop:
    case FrameType::kSessionOpen:
    case FrameType::kSessionUse:
    case FrameType::kSessionExec:
    case FrameType::kSessionClose:
    case FrameType::kSessionList:
    case FrameType::kUsage:
    case FrameType::kProcessInfo:
    case FrameType::kLogChunk:
    case FrameType::kSessionInfo:
    case FrameType::kStatFile:
    case FrameType::kReadFile:
    case FrameType::kWriteFile:
    case FrameType::kMakeDir:
    case FrameType::kMoveFile:
    case FrameType::kCopyFile:
    case FrameType::kRemoveFile:
    case FrameType::kSetFile:
    case FrameType::kListFiles:
    case FrameType::kPackFiles:
    case FrameType::kUnpackFiles:
    case FrameType::kWatchFiles:
    case FrameType::kReadTreeState:
    case FrameType::kWatching:
    case FrameType::kTreeState:
    case FrameType::kFileEvents:
    case FrameType::kReadTreePart:
    case FrameType::kWriteOwnedFile:
    case FrameType::kOpenUserTerminal:
    case FrameType::kKeepWatch:
    case FrameType::kWatchKept:
    case FrameType::kKeptEvents:
    case FrameType::kFileCommit:
    case FrameType::kFileInfo:
    case FrameType::kFileOpened:
    case FrameType::kListEnd:
    case FrameType::kFileData:
    case FrameType::kFileEntries:
    case FrameType::kListPorts:
    case FrameType::kPorts:
    case FrameType::kDialPath:
    case FrameType::kOpenTerminal:
    case FrameType::kListTerminals:
    case FrameType::kCloseTerminal:
    case FrameType::kResizeTerminal:
    case FrameType::kTerminalOpened:
    case FrameType::kTerminals:
    case FrameType::kTerminalSkipped:
    case FrameType::kTerminalReplayed:
      return true;
  }
  return false;
}

}  // namespace atl::protocol
