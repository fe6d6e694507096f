// SPDX-License-Identifier: Apache-2.0
#include "api/v1/strict_exchange.h"

namespace atl::api {

async::Task<Result<std::string>> StrictExchange::ReadBody(size_t limit) {
  CO_ASSIGN(std::string body, co_await inner_.ReadBody(limit));
  CO_TRY(CheckNames(fields_, body));
  co_return body;
}

}  // namespace atl::api
