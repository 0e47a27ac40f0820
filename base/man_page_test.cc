#include "base/man_page.h"

#include <gmock/gmock.h>

namespace moraine {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ManPage, WhatRoffWouldUnderstandIsEscaped) {
  ManPage page("moraine x y", 1, "Does -x.");
  EXPECT_THAT(page.text(), HasSubstr(".TH \"MORAINE\\-X\\-Y\" 1 "));
  EXPECT_THAT(page.text(), HasSubstr("moraine\\-x\\-y \\- Does \\-x\n"));
  page.Section("DESCRIPTION");
  page.Paragraph(".dots 'quotes' a\\b `--bold=x`");
  EXPECT_THAT(page.text(),
              HasSubstr(".SH DESCRIPTION\n\\&.dots \\(aqquotes\\(aq a\\eb \\fB\\-\\-bold=x\\fR\n"));
}

TEST(ManPage, SentencesBeginLinesAndLinesStayShort) {
  ManPage page("x", 8, "X.");
  page.Section("S");
  page.Paragraph("One. Two\nthree.\n\nFour.");
  EXPECT_THAT(page.text(), HasSubstr(".SH S\nOne.\nTwo three.\n.PP\nFour.\n"));
  page.Paragraph(std::string(70, 'a') + " " + std::string(20, 'b') + " .c");
  EXPECT_THAT(page.text(), HasSubstr("a\nbbbb"));
}

TEST(ManPage, EntriesExamplesAndReferences) {
  ManPage page("x", 8, "X.");
  page.Entries("SIGNALS", {});
  EXPECT_THAT(page.text(), Not(HasSubstr("SIGNALS")));
  page.Entries("SIGNALS", {{"`SIGTERM`", "Ends it."}});
  EXPECT_THAT(page.text(), HasSubstr(".SH SIGNALS\n.TP\n\\fBSIGTERM\\fR\nEnds it.\n"));
  page.Example("x -a\n  y", "Do it:");
  EXPECT_THAT(page.text(), HasSubstr(".PP\nDo it:\n.PP\n.RS 4\n.nf\nx \\-a\n  y\n.fi\n.RE\n"));
  page.SeeAlso({"a-b(1)", "c(8)"});
  EXPECT_THAT(page.text(), HasSubstr(".SH SEE ALSO\n.BR a\\-b (1) ,\n.BR c (8)\n"));
}

}  // namespace
}  // namespace moraine
