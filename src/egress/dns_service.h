// SPDX-License-Identifier: Apache-2.0
// Takes a sandbox's DNS queries over UDP and TCP to the resolver. Internal to this room.
#pragma once

#include <memory>

#include "async/stream.h"
#include "async/task.h"
#include "egress/link.h"

namespace atl::egress {

// Until the link is closing.
async::Task<> ServeDnsUdp(std::shared_ptr<Link> link, async::Datagram socket);

// One connection, until the client or ten quiet seconds end it.
async::Task<> ServeDnsTcp(std::shared_ptr<Link> link, async::Stream stream);

}  // namespace atl::egress
