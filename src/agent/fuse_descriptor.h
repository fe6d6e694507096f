// SPDX-License-Identifier: Apache-2.0
// Under the name of `fusermount`, in the container of a bucket's client: the file system is mounted
// already, by the daemon, and its device was handed down. libfuse only has to be given it.
#pragma once

#include <string_view>

namespace atl::agent {

// Where the daemon puts the device for the client and what it starts.
inline constexpr int kFuseDescriptor = 3;

bool IsFusermount(std::string_view program);
// Sends the device over the socket that libfuse names. There is nothing to unmount.
int FusermountMain();

}  // namespace atl::agent
