// Failures without exceptions, whose runtime the library would have to bring along.
#pragma once

namespace paddle_focal {

/// Keeps a message, formatted as printf does, for focal_error().
__attribute__((format(printf, 1, 2))) void set_error(const char* format, ...);

}  // namespace paddle_focal
