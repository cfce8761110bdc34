// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/standard_output.h"
#include "cmd/sluice-proxy/certificate.h"
#include "cmd/sluice-proxy/options.h"
#include "cmd/sluice-proxy/run.h"
#include "cmd/version.h"

namespace {

const char* Variable(const char* name) { return std::getenv(name); }

}  // namespace

int main(int argc, char** argv) {
  sluice::ReserveStandardDescriptors();
  // Standard output is for the access log.
  spdlog::set_default_logger(spdlog::stderr_color_mt("sluice-proxy"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (const auto text = sluice::AnswerCompletion(arguments, sluice::proxy::DescribeProgram)) {
      sluice::WriteOutput(*text);
      return 0;
    }
    if (!arguments.empty() && arguments.front() == "certificate") {
      // The words that ask for help may come behind a verb as well.
      const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
      const bool help = std::ranges::any_of(
          rest, [](const std::string& word) { return word == "--help" || word == "-h"; });
      sluice::WriteOutput(help ? sluice::proxy::HelpText() : sluice::proxy::MakeCertificate(rest));
      return 0;
    }
    sluice::proxy::Options options = sluice::proxy::ParseOptions(arguments, Variable);
    if (options.help) {
      sluice::WriteOutput(sluice::proxy::HelpText());
      return 0;
    }
    if (options.version) {
      sluice::WriteOutput("sluice-proxy " SLUICE_VERSION_TEXT "\n");
      return 0;
    }
    spdlog::set_level(spdlog::level::from_str(options.log_level));
    options.config.version = SLUICE_VERSION;
    options.config.commit = SLUICE_COMMIT;
    sluice::proxy::Run(options);
    return 0;
  } catch (const sluice::Error& error) {
    spdlog::critical("{}", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    spdlog::critical("{}", error.what());
    return static_cast<int>(sluice::ErrorKind::kFailed);
  }
}
