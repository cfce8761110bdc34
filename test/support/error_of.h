// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>

#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice::testing_support {

// The Error that `body` throws; if it throws none, the test fails.
inline Error ErrorOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return {ErrorKind::kFailed, {.doing = "nothing", .target = {}, .why = "nothing", .help = {}}};
}

}  // namespace sluice::testing_support
