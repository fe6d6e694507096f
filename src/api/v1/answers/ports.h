// SPDX-License-Identifier: Apache-2.0
// What the routes about ports answer.
#pragma once

#include "api/v1/answers/common.h"

namespace atl::api::answers {

inline constexpr Member kExposureMembers[] = {
    {"url", kText, {}},
    {"port", kInteger, {}},
    {"name", kText, {}},
    {"token", kText, {}},
    {"signed", kBoolean, {}},
    {"createdAt", kTime, {}},
    {"expiresAt", OrNull(kTime), {}},
};
inline constexpr Shape kExposure = ObjectOf("ExposedPort", kExposureMembers);
inline constexpr Shape kExposures = ListOf(kExposure);
inline constexpr Member kExposureListMembers[] = {{"ports", kExposures, {}}};
inline constexpr Shape kExposureList = ObjectOf("ExposedPortList", kExposureListMembers);

inline constexpr Member kListenerMembers[] = {
    {"pid", kInteger, {}}, {"name", kText, {}}, {"argv", kTexts, {}}};
inline constexpr Shape kListener = ObjectOf("ListeningProcess", kListenerMembers);
inline constexpr Member kListeningMembers[] = {
    {"port", kInteger, {}},
    {"address", kText, {}},
    {"url", kText, "For its owner."},
    {"process?", kListener, {}},
    {"exposed", OrNull(kExposure), {}},
};
inline constexpr Shape kListening = ObjectOf("ListeningPort", kListeningMembers);
inline constexpr Shape kAllListening = ListOf(kListening);
inline constexpr Member kListeningListMembers[] = {
    {"ports", kAllListening, {}}, {"complete", kBoolean, "false: there are more than are told."}};
inline constexpr Shape kListeningList = ObjectOf("ListeningPortList", kListeningListMembers);

}  // namespace atl::api::answers
