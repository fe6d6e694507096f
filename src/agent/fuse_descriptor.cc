// SPDX-License-Identifier: Apache-2.0
#include "agent/fuse_descriptor.h"

#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace atl::agent {

bool IsFusermount(std::string_view program) {
  return program.substr(program.rfind('/') + 1).starts_with("fusermount");
}

int FusermountMain() {
  const char* socket = std::getenv("_FUSE_COMMFD");
  if (socket == nullptr) return 0;
  char byte = 0;
  iovec content{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = &control[0];
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &kFuseDescriptor, sizeof(int));
  if (::sendmsg(std::atoi(socket), &message, MSG_NOSIGNAL) >= 0) return 0;
  std::perror("fusermount: the device could not be passed on");
  return 1;
}

}  // namespace atl::agent
