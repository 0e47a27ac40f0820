// Decodes arbitrary bytes as arbitrary fields: the first bytes choose the fields, the rest is the
// input. What was read and is written again must give the same bytes, because encodings are unique.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/encoding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using moraine::Reader;
  if (size < 8) return 0;
  Reader reader(std::string_view(reinterpret_cast<const char*>(data) + 8, size - 8));
  std::string again;
  moraine::Writer writer(&again);
  const size_t before = reader.remaining();
  for (size_t i = 0; i < 8 && reader.ok(); ++i) {
    std::string field;
    moraine::Writer one(&field);
    switch (data[i] % 10) {
      case 0:
        one.U8(reader.U8());
        break;
      case 1:
        one.Bool(reader.Bool());
        break;
      case 2:
        one.U16(reader.U16());
        break;
      case 3:
        one.U32(reader.U32());
        break;
      case 4:
        one.U64(reader.U64());
        break;
      case 5:
        one.Big32(reader.Big32());
        break;
      case 6:
        one.Big64(reader.Big64());
        break;
      case 7:
        one.Varint(reader.Varint());
        break;
      case 8:
        one.Signed(reader.Signed());
        break;
      case 9:
        one.String(reader.String(1000));
        break;
    }
    if (reader.ok()) writer.Raw(field);
  }
  if (!reader.ok()) {
    MORAINE_CHECK(reader.AtEnd() && reader.Rest().empty() && !reader.Finish("input").ok());
    return 0;
  }
  MORAINE_CHECK(before - reader.remaining() == again.size());
  MORAINE_CHECK(again == std::string_view(reinterpret_cast<const char*>(data) + 8, again.size()));
  return 0;
}
