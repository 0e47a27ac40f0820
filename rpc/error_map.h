// Status <-> Thrift's CallError: the one place where errors cross the wire.
#pragma once

#include "base/status.h"
#include "idl/common_types.h"

namespace moraine::rpc {

idl::CallError ToCallError(const Status& status);
// Codes that this build does not know become kInternal; a CallError never becomes kOk.
Status FromCallError(const idl::CallError& error);

}  // namespace moraine::rpc
