// SPDX-License-Identifier: Apache-2.0
// What changes in a directory.
//   GET  /v1/sandboxes/{id}/watch?path=&recursive=&include=GLOB,…&exclude=GLOB,…  server-sent
//        events: {"type":"watching","path","resumed"}, then {"type":"event","eventType","path",
//        "isDirectory","timestamp","cookie"?} with eventType create, modify, delete, move_from,
//        move_to or attrib, {"type":"overflow"} when some were lost, and at the end
//        {"type":"stopped","reason"} or {"type":"error","code","message"}. They have ids: a client
//        that comes back with Last-Event-ID within a minute goes on behind that one, whatever
//        became of the daemon; otherwise {"type":"resync","reason"} says that it cannot.
//   POST /v1/sandboxes/{id}/changes {"path","since"?,…} -> {"status","version"}: whether anything
//        is different since the answer with that version; "resync" for a version that is none
#pragma once

#include "api/v1/route.h"

namespace atl::api {

std::span<const Route> WatchRoutes();

}  // namespace atl::api
