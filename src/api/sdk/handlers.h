// SPDX-License-Identifier: Apache-2.0
// One handler for each route. The first value is the id of the sandbox, then come those of the
// path.
#pragma once

#include "api/v1/route.h"

namespace atl::api::sdk {

// execute.cc
async::Task<> Execute(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ExecuteStream(const Services& services, Values values, http::Exchange& exchange);

// sessions.cc
async::Task<> CreateSession(const Services& services, Values values, http::Exchange& exchange);
async::Task<> DeleteSession(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ListSessions(const Services& services, Values values, http::Exchange& exchange);

// files.cc
async::Task<> ReadFile(const Services& services, Values values, http::Exchange& exchange);
async::Task<> WriteFile(const Services& services, Values values, http::Exchange& exchange);
async::Task<> DeleteFile(const Services& services, Values values, http::Exchange& exchange);
async::Task<> RenameFile(const Services& services, Values values, http::Exchange& exchange);
async::Task<> MoveFile(const Services& services, Values values, http::Exchange& exchange);
async::Task<> MakeDir(const Services& services, Values values, http::Exchange& exchange);
async::Task<> FileExists(const Services& services, Values values, http::Exchange& exchange);
// list_files.cc
async::Task<> ListFiles(const Services& services, Values values, http::Exchange& exchange);
// read_stream.cc
async::Task<> ReadFileStream(const Services& services, Values values, http::Exchange& exchange);

// processes.cc
async::Task<> StartProcess(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ListProcesses(const Services& services, Values values, http::Exchange& exchange);
async::Task<> GetProcess(const Services& services, Values values, http::Exchange& exchange);
async::Task<> KillProcess(const Services& services, Values values, http::Exchange& exchange);
async::Task<> KillAllProcesses(const Services& services, Values values, http::Exchange& exchange);
// process_logs.cc
async::Task<> ProcessLogs(const Services& services, Values values, http::Exchange& exchange);
async::Task<> StreamProcessLogs(const Services& services, Values values, http::Exchange& exchange);

// ports.cc
async::Task<> WatchPort(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ExposePort(const Services& services, Values values, http::Exchange& exchange);
async::Task<> UnexposePort(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ListExposedPorts(const Services& services, Values values, http::Exchange& exchange);

// git.cc
async::Task<> GitCheckout(const Services& services, Values values, http::Exchange& exchange);

// watch.cc
async::Task<> WatchFiles(const Services& services, Values values, http::Exchange& exchange);
async::Task<> CheckChanges(const Services& services, Values values, http::Exchange& exchange);

// code.cc
async::Task<> InterpreterHealth(const Services& services, Values values, http::Exchange& exchange);
async::Task<> CreateContext(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ListContexts(const Services& services, Values values, http::Exchange& exchange);
async::Task<> DeleteContext(const Services& services, Values values, http::Exchange& exchange);
async::Task<> RunCode(const Services& services, Values values, http::Exchange& exchange);

// backup.cc
async::Task<> CreateBackup(const Services& services, Values values, http::Exchange& exchange);
async::Task<> RestoreBackup(const Services& services, Values values, http::Exchange& exchange);

// pty.cc
async::Task<> Pty(const Services& services, Values values, http::Exchange& exchange);

// utility.cc
async::Task<> Root(const Services& services, Values values, http::Exchange& exchange);
async::Task<> Ping(const Services& services, Values values, http::Exchange& exchange);
async::Task<> Version(const Services& services, Values values, http::Exchange& exchange);
async::Task<> ListCommands(const Services& services, Values values, http::Exchange& exchange);
async::Task<> NoRpc(const Services& services, Values values, http::Exchange& exchange);
async::Task<> NoUploadParts(const Services& services, Values values, http::Exchange& exchange);

}  // namespace atl::api::sdk
