// What becomes of each file of make_files.py: words of the answer, and for one that loads, an expression and its value.

interface Row {
  path: string;
  /** what the answer says */
  words: RegExp;
  /** Python that is evaluated after a load; absent for a file that is refused */
  code?: string | undefined;
  value?: string | undefined;
}
type Cells = readonly [path: string, words: RegExp, code?: string, value?: string];

const BOMB = /unpacks to more than 400 times its size .* looks like a decompression bomb/;
const PICKLE = /is a pickle: reading it runs the code inside, so load does not/;
const OBJECTS = /holds Python objects, which are pickles/;
const ESCAPES = /points outside the archive/;
const DEEP = /is nested too deeply/;
const TOWNS = "v.stadt.tolist(), v.wert.tolist()";
const TOWNS_ARE = "(['München', 'Zürich'], [1, 2])";
const towns = (codec: string, how: RegExp): Cells => [`${codec}.csv`, how, TOWNS, TOWNS_ARE];
const isText = (path: string): Cells => [path, /str, \d+ characters/, "type(v).__name__", "'str'"];
/** Scribbled over: what can still be read is read, and never more than was stored. */
const GOOD = "len(v), int(v.a.sum())";
const GOOD_IS = "(1000, 499500)";

const ROWS: readonly Cells[] = [
  ["bomb.csv.gz", BOMB],
  ["bomb.csv.bz2", BOMB],
  ["bomb.csv.xz", BOMB],
  ["bomb.csv.zst", BOMB],
  ["layers.gz", /compressed more than 3 times over/],
  ["nested.zip", /lies 3 archives deep, and is an archive again/],
  ["many-names.zip", /lists 12,000 members; load takes archives of at most 10,000/],
  ["overlapping.zip", /overlaps another, as in a bomb/],
  ["slip.zip", ESCAPES],
  ["lying.zip", /is damaged/],
  ["slip.tar", ESCAPES],
  ["absolute.tar", ESCAPES],
  ["links.tar", /2 links left out: to-passwd, hard/, "list(v)", "['a.csv']"],
  ["device.tar", /holds the device or pipe "null"/],
  ["fifo.tar", /holds the device or pipe "pipe"/],
  ["sparse.tar", BOMB],
  ["laughs.xlsx", /declares XML entities/],
  ["outside.xlsx", /declares XML entities/],
  ["huge.xlsx", BOMB],
  isText("laughs.xml"),
  isText("laughs.svg"),
  isText("laughs.yaml"),
  isText("runs.yaml"),
  ["laughs.ods", /OpenDocument file, which load does not read/],
  ["laughs.docx", /dict of 2 members/, "len(v['word/document.xml']) < 1000", "True"],
  ["outside.html", /text without markup/, "'root:' in v", "False"],
  ["good.parquet", /1,000 rows × 2 columns/, GOOD, GOOD_IS],
  ["footer.parquet", /could not be read as parquet/],
  ["cut.parquet", /could not be read as parquet/],
  ["scribbled.parquet", /could not be read as parquet/],
  ["good.feather", /1,000 rows × 2 columns/, GOOD, GOOD_IS],
  ["cut.feather", /could not be read as arrow/],
  ["scribbled.feather", /could not be read as arrow/],
  ["lengths.feather", /1,000 rows × 2 columns/, GOOD, GOOD_IS],
  ["lengths.arrows", /could not be read as arrow/],
  ["runs.pkl", PICKLE],
  ["runs.joblib", PICKLE],
  ["runs.csv", PICKLE],
  ["runs", PICKLE],
  isText("runs0.pickle"),
  ["objects.npy", OBJECTS],
  ["objects.npz", OBJECTS],
  ["shape.npy", /does not fit into|could not be read as a numpy array/],
  ["expression.npy", /could not be read as a numpy array/],
  ["evil.sqlite", /endless: view, rows not counted/, "len(v['a'].df()), len(v['log'].df())", "(2, 0)"],
  ["torn.sqlite", /could not be read as a SQLite database/],
  ["pages.sqlite", /could not be read as a SQLite database/],
  ["evil.duckdb", /endless: view, rows not counted/, "v['a'].df().x.tolist()", "[0, 1, 2]"],
  ["torn.duckdb", /could not be read as a DuckDB database/],
  ["deep.json", DEEP],
  ["deep-objects.json", DEEP],
  ["deep.jsonl", DEEP],
  ["number.json", /Exceeds the limit/],
  ["numbers.csv", /2 infinite/, "v.a[1]", "1"],
  ["keys.json", /dict of 3 keys/, "v['a'], v['__class__']", "(2, 'x')"],
  ["surrogate.json", /dict of 1 key/, "ascii(v)", String.raw`"{'\\ud800': '\\udfff\\x00\\u202e'}"`],
  ["bomb.pdf", /list of 1 page text/, "len(v)", "1"],
  ["circle.pdf", /could not be read as PDF/],
  ["cut.pdf", /could not be read as PDF/],
  ["bomb.png", /could not be read as an image: .*bomb/],
  ["cut.png", /could not be read as an image/],
  ["gif.gif", /could not be read as an image/],
  towns("utf-8-sig", /byte order mark/),
  towns("utf-16", /byte order mark/),
  towns("utf-16-le", /no byte order mark/),
  towns("utf-16-be", /no byte order mark/),
  towns("utf-32", /byte order mark/),
  towns("utf-32-le", /no byte order mark/),
  towns("utf-32-be", /no byte order mark/),
  towns("cp1252", /guessed from its bytes/),
  ["shift-jis.csv", /cp932/, "v['都市'][0]", "'東京は日本の首都です'"],
  ["gb18030.csv", /gb18030/, "v['城市'][1]", "'上海是最大的城市'"],
  ["ebcdic.csv", /text in EBCDIC.*iconv/],
  ["utf-7.csv", /1 row × 2 columns/, "v.b.tolist()", "[1]"],
  ["mixed.csv", /guessed from its bytes/, "v.b.tolist()", "[1, 2]"],
  ["nul.csv", /2 rows × 2 columns/, "v.a.tolist(), v.b.tolist()", String.raw`(['1\x00', '3'], [2, 4])`],
  [
    "twice.csv",
    /2 rows × 4 columns/,
    "list(v), v.iloc[1].tolist()",
    "(['a', 'a.1', 'a.2', 'b'], [5, 6, 7, 8])",
  ],
  [
    "ragged.csv",
    /longer .*first at row 3\)[\s\S]*shorter .*first at row 2\)/,
    "v.extra_2[1]",
    "np.float64(7.0)",
  ],
  ["quotes.csv", /a quote is never closed/, "len(v)", "3"],
  ["wide.csv", /20,000 columns/, "int(v.iloc[0].sum())", "20000"],
  ["one-line.csv", /1 row × 2 columns/, "len(v.a[0])", "20000000"],
  ["formulas.csv", /2 rows × 2 columns/, "v.a[0]", `"=cmd|'/c calc'!A0"`],
  ["names.csv", /1 row × 5 columns/, "v.iloc[0].tolist()", "[1, 2, 3, 4, 5]"],
  ["values.csv", /2 rows × 2 columns/, "len(v)", "2"],
  ["really-zip.csv", /although its name ends in \.csv/, "list(v)", "['a.csv']"],
  ["really-csv.xlsx", /although its name ends in \.xlsx/, "v.splitlines()[1]", "'1,2'"],
  ["really-html.json", /although its name ends in \.json/, "v[:9]", "'<!doctype'"],
  ["really-text.parquet", /although its name ends in \.parquet/, "v[:4]", "'just'"],
  ["really-parquet.txt", /although its name ends in \.txt/, GOOD, GOOD_IS],
  [
    "really-elf.csv",
    /binary \(by content, although its name ends in \.csv\)/,
    "v[:4]",
    String.raw`b'\x7fELF'`,
  ],
  ["empty.parquet", /the file is empty/, "v", "''"],
  ["empty.json", /the file is empty/, "v", "''"],
  ["empty.zip", /dict of 0 members/, "v", "{}"],
  ["noise.bin", /bytes, 5\.0 KB/, "len(v)", "5000"],
];

export const MADE: readonly Row[] = ROWS.map(([path, words, code, value]) => ({ path, words, code, value }));
