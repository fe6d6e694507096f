// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "repository/repository.h"
#include "snapshot/findings.h"
#include "snapshot/pack_facts.h"

namespace atl::snapshot {

// Reads every byte of these packs from the store, on all cores: the hash is the name, the header is
// what the index says, every blob is authentic and what its id says. What the store cannot give
// although it is there is an error of the check itself.
Result<void> CheckPackContents(repository::Repository& repository,
                               const std::map<repository::Id, PackFacts>& packs, Findings& findings,
                               const std::function<void(double)>& progress, std::stop_token stop);

}  // namespace atl::snapshot
