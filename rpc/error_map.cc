#include "rpc/error_map.h"

#include "base/check.h"

namespace moraine::rpc {

idl::CallError ToCallError(const Status& status) {
  MORAINE_CHECK(!status.ok(), "success is not an error");
  idl::CallError error;
  error.code = static_cast<int32_t>(status.code());
  error.message = status.message();
  return error;
}

Status FromCallError(const idl::CallError& error) {
  const bool fits = error.code > 0 && error.code <= UINT16_MAX;
  const Code code = fits ? CodeFromNumber(static_cast<uint16_t>(error.code)) : Code::kInternal;
  return {code, error.message};
}

}  // namespace moraine::rpc
