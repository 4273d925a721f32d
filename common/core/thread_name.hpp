#pragma once

#include <string_view>
#include <thread>

namespace troupe {

/// What `ps -T`, `top -H` and debuggers call a running thread: the first 15 bytes of `name`.
void name_thread(std::thread& running, std::string_view name) noexcept;

} // namespace troupe
