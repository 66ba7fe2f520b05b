% Facts of probability exactly 0 and 1, written as integers and as floats, also below negation.
%% answer: sun  1
%% answer: comet  0
%% answer: eclipse  0
%% answer: clear  0.6
%% answer: dark  0
%% answer: seen  0.4
%% answer: surprise  0
%% answer: calm  1

1.0::sun.
1::moon.
0.0::comet.
0::eclipse.
0.4::cloud.

clear :- sun, \+ cloud.
dark :- \+ sun.
seen :- comet.
seen :- cloud, moon.
surprise :- comet, cloud.
calm :- \+ eclipse.

query(sun).
query(comet).
query(eclipse).
query(clear).
query(dark).
query(seen).
query(surprise).
query(calm).
