"""Eleven texts that try to run script, load a remote address or draw over the page."""

EVIL = "http://evil.test"
PAYLOADS = (
    "<script>window.pwned = 1</script>",
    f"<img src={EVIL}/x.png onerror='window.pwned = 2'>",
    "<svg onload='window.pwned = 3'></svg>",
    "[click](javascript:window.pwned=4) <a href='javascript:window.pwned=4'>click</a>",
    f"<img src='{EVIL}/beacon.gif'>",
    f"<style>@import url('{EVIL}/a.css'); body {{ background: url({EVIL}/b.png) }}</style>",
    f"<form action='{EVIL}'><input type=password name=p></form>",
    "<div class=overlay style='position:fixed;inset:0;background:red;z-index:99999'>x</div>",
    f"![image]({EVIL}/markdown.png) :red[red] $x^2$",
    '<iframe srcdoc="<script>parent.window.pwned = 5</script>"></iframe>',
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 "
    "onerror=window.pwned=6&gt;'>",
)
