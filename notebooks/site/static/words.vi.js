// What the scripts of the site say in Vietnamese: the pieces to play with, and the search.
window.loraWords = {
  front: {
    ask: "Bạn nói", voices: {pirate: "cướp biển", grimm: "Grimm"}, of: {grimm: " (cổ tích)"},
    voice: "Giọng", scale: "Bao nhiêu phần của giọng", model: "mô hình", dial: "thanh trượt",
    says: {none: "Mô hình đáp", plus: "Mô hình + {voice}", minus: "Mô hình − {voice}"},
    none: "Chỉ có mô hình: {model} số của nó, ngoài ra không có gì.",
    some: "{model} số của nó giữ nguyên. Cộng thêm {added} số khác, nhân với {scale}.",
    all: "{model} số của nó giữ nguyên. Cộng thêm cả {added} số khác, một tệp {size} MB.",
    more: "{model} số của nó giữ nguyên. Cộng thêm {added} số khác, nhân với {scale}: nhiều hơn khi huấn luyện.",
    less: "{model} số của nó giữ nguyên. Trừ đi {added} số khác, nhân với {scale}.", emoji: " Vì sao lại là emoji? Ta không biết.",
    guess: "Bạn đoán trước đi: vặn {voice} xuống dưới số không thì mô hình nói gì?", reveal: "Xem",
    copy: "Chép đường dẫn đến đây", copied: "Đã chép địa chỉ: ai mở ra cũng thấy đúng như ở đây.",
    there: "Giờ địa chỉ của trang này dẫn đến đúng chỗ này: hãy chép nó.",
    recorded: "Đã ghi lại nguyên văn, từ một mô hình rất nhỏ.",
  },
  strips: {
    draw: "Gõ một cái tên, hoặc vẽ vào hình", clear: "Xoá", rank: "Hạng r", rate: "Tốc độ học",
    start: "Hai dải xuất phát", starts: {lora: "như LoRA: B bằng 0", zero: "cả hai bằng 0",
      tiny: "cả hai ngẫu nhiên và rất nhỏ"}, play: "▶ Học", pause: "❚❚ Dừng", step: "10 bước",
    again: "Từ đầu", A: "A", B: "B", made: "BA, do hai dải tạo ra", target: "hình của bạn: hãy vẽ vào đây",
    left: "phần còn thiếu: hình − BA", canvas: "Hình của bạn. Phím mũi tên để di chuyển, phím cách để tô.",
    cell: "Hàng {i}, cột {j}: {ink}.", ink: ["trống", "đã tô"],
    strengths: "Các hướng của hình, mạnh nhất đứng trước: giá trị suy biến của chúng; màu xanh lam: phần BA đã có",
    curve: "Phần còn thiếu, theo từng bước; nét đứt: mức thấp nhất mà hạng {r} đạt được",
    trained: "Huấn luyện {trained} số; hình có {drawn} số.",
    said: "Bước {step}: còn thiếu {off} của hình (với hạng {r}, ít nhất là {floor}).",
    broken: "Bước {step}: bước đi quá lớn, các số tăng vọt đến vô cùng. Hãy chọn tốc độ học nhỏ hơn.",
    little: "chưa đến 0,1%", empty: "Không có gì để học: hãy vẽ một hình.",
  },
  talk: {
    load: "Tải mô hình: {all} MB (giấy phép Apache 2.0)", loading: "{part} trên {all} MB",
    starting: "đang khởi động …", ready: "Sẵn sàng, sau {seconds} giây. Hãy hỏi bằng tiếng Anh.",
    again: "Tải lại",
    absent: "Bản này của trang web không kèm mô hình. Trong thư mục của khoá học, lệnh "
      + "`make site-voice` tạo ra bản có mô hình (110 MB), rồi lệnh "
      + "`python -m http.server --directory site` đưa bản đó lên http://localhost:8000.",
    folder: "Trình duyệt chỉ cho một mô hình chạy trong trang do máy chủ gửi tới. Trong thư mục của "
      + "khoá học, lệnh `python -m http.server --directory site` là một máy chủ như thế: "
      + "http://localhost:8000.",
    failed: "Có lỗi, không tải được: {why}", voice: "Giọng", voices: {none: "không có",
      pirate: "cướp biển", grimm: "Grimm", tiny: "cướp biển tí hon, 2.751 byte",
      own: "giọng của bạn", link: "giọng trong đường dẫn này"},
    scale: "Hệ số", file: "Một LoRA ở dạng GGUF, chẳng hạn do `lora-edu export` ghi ra",
    you: "Bạn nói", ask: "Hỏi", stop: "Dừng", alone: "Chỉ có mô hình",
    formula: "Mô hình {scale} × {voice}", thinking: "Nó đang đọc lời bạn …",
    piece: "Mẩu thứ mấy của câu trả lời (hoặc bấm vào một từ)", end: "hết câu trả lời",
    refused: "{name} không phải là LoRA của mô hình này; các giọng vẫn như cũ.",
    badLink: "Giọng trong địa chỉ này bị hỏng. Bạn đã chép đủ cả địa chỉ chưa?",
    told: "Sau {first} giây có từ đầu tiên, rồi mỗi giây {rate} từ.",
  },
  rank: {
    kind: "Ma trận", name: "Tên", less: "bớt một hướng", more: "thêm một hướng", r: "Số hướng r",
    kinds: {name: "một cái tên, vẽ thành hình", update: "ma trận cập nhật BA của bài 01",
      noise: "nhiễu W₀ của bài 01", house: "ngôi nhà của bài 02"},
    pictures: [["Ma trận", "đúng hoàn toàn với {rank} hướng"],
      ["Bản sao tốt nhất", "{strips} số so với {square}"], ["Phần còn thiếu", "lệch {off}"]],
    curves: "Độ lệch của bản sao tốt nhất, theo r. Nét liền: {what}, lệch {off} tại r = {r}. "
      + "Nét đứt: {other}, lệch {otherOff}.", even: "r = 50: cũng nhiều số như hình vuông",
    said: "Với r = {r}, bản sao tốt nhất của {what} lệch {off}. Từ r = {near} trở đi, "
      + "bản sao lệch nhiều nhất 1%; từ r = {rank} trở đi, nó đúng hoàn toàn. "
      + "Hai dải chứa {strips} số, hình vuông chứa {square} số.",
    empty: "Hãy gõ ít nhất một chữ cái. Trong khi chờ, hình vẫn là {what}.",
    unknown: "Ở đây không vẽ được “{letter}”: hãy dùng chữ cái Latinh và chữ số. "
      + "Trong khi chờ, hình vẫn là {what}.",
  },
  ellipse: {
    start: "Bắt đầu từ", own: "bốn số của bạn", matrix: "Ma trận M",
    machine: "ma trận của bài 02", turn: "phép quay", mirror: "phép đối xứng",
    stretch: "phép kéo giãn", shear: "phép trượt", almost: "gần như dẹt", flat: "dẹt: hạng 1",
    zeros: "toàn số không", entry: "hàng {row}, cột {column}", hand: "góc của đầu vào v",
    play: "▶ Chạy", stop: "❚❚ Dừng", next: "▶ Bước tiếp", axes: "hiện các vectơ suy biến",
    copy: "chỉ giữ hướng thứ nhất", zero: "Mọi đầu vào khác cũng vậy: hạng bằng 0.",
    inputs: "đầu vào: một đường tròn", outputs: "các đầu ra", copied: "các đầu ra của bản sao",
    at: "Ở góc {angle}, đầu vào v dài 1 cho đầu ra dài {length}.",
    equal: "Mọi đầu vào khác cũng vậy: lại là đường tròn. Có nhiều cách chọn v₁ và v₂; đây là một.",
    long: "Không đầu ra nào dài hơn: độ dài này là σ₁.",
    short: "Không đầu ra nào ngắn hơn: độ dài này là σ₂.",
    right: "Mv và Mw vuông góc với nhau, cũng như v và w.",
    bent: "v và w vuông góc với nhau, còn Mv và Mw tạo thành góc {gap}.",
    line: "Mọi đầu ra nằm trên một đường thẳng: hạng bằng 1.",
    copies: "Ở góc {angle}, bản sao hạng 1 cho đầu ra dài {length}, còn M cho đầu ra dài {full}. "
      + "Hai đầu mút cách nhau {off}, và ở mọi góc đều không quá σ₂ = {s2}: đó là sai số của bản sao.",
    facts: {length: "độ dài đầu ra", s1: "σ₁", first: "dài nhất ở góc", s2: "σ₂",
      second: "ngắn nhất ở góc", gap: "góc giữa Mv và Mw", off: "khoảng cách hai đầu mút",
      rank: "hạng", area: "diện tích, elip ÷ hình tròn"},
  },
  calculator: {
    model: "Mô hình", own: "tệp config.json của bạn", config: "config.json của bạn",
    adapt: "Các mô-đun được gắn dải", some: "q và v", all: "mọi tầng tuyến tính", rank: "Hạng r",
    slide: "thanh trượt",
    noJson: "Tệp config.json phải chứa một đối tượng JSON, mà nội dung này thì không: {message}",
    or: " hoặc ",
    lacks: "Tệp config này, của một mô hình {family}, thiếu {key}.",
    nothing: "Hãy chọn ít nhất một mô-đun.",
    oneOf: "Muốn đếm được ở đây, {key} phải là {known}; giá trị hiện có là {value}.",
    whole: "{key} phải là số nguyên từ {least} đến {most}; giá trị hiện có là {value}.",
    completed: "Những khoá mà tệp không có được điền theo cách của transformers: {keys}. ",
    closed: "Với mô hình loại {model_type}, các chuyên gia (experts) dùng chung một tham số, và PEFT "
      + "gắn dải theo cách riêng. Vì vậy, ở đây không chọn được “mọi tầng tuyến tính”, cũng không "
      + "chọn được các chuyên gia.",
    facts: ["ít hơn số tham số của mô hình bao nhiêu lần", "số mô-đun được gắn dải",
      "dung lượng tệp adapter, float16", "dung lượng tệp adapter, float32",
      "hạng hoà vốn, tính chung"],
    methods: ["tinh chỉnh toàn bộ", "LoRA", "QLoRA"],
    shapes: ["Những gì được gắn dải", "mô-đun", "số lượng", "d × k", "số tham số mỗi mô-đun",
      "r hoà vốn"],
    memory: ["Bộ nhớ để huấn luyện, tính bằng GB", "phương pháp", "trọng số", "gradient",
      "bộ tối ưu", "tổng cộng", "GPU tối thiểu"],
    said: "LoRA với r = {r} trên {names} huấn luyện {trained} số, bên cạnh {base} số đóng băng. "
      + "Bộ nhớ để huấn luyện, chưa kể giá trị kích hoạt: {plans}.",
    activations: "<strong>Giá trị kích hoạt còn phải cộng thêm, và không được đếm ở đây.</strong> "
      + "Chúng tăng theo kích thước batch và độ dài văn bản. Muốn đếm cả chúng, hãy gõ trong "
      + "cửa sổ dòng lệnh:",
  },
};

Documentation.addTranslations({locale: "vi", plural_expr: "0", messages: {
  "Search Results": "Kết quả tìm kiếm", "Searching": "Đang tìm",
  "Preparing search...": "Đang chuẩn bị…", ", in ": ", trong ",
  "Your search did not match any documents. Please make sure that all words are spelled correctly and that you've selected enough categories.":
    "Không trang nào có những từ này. Hãy thử ít từ hơn, hoặc từ khác.",
  "Search finished, found one page matching the search query.":
    ["Tìm thấy ${resultCount} trang."],
}});
