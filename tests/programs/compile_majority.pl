% The majority of five votes with shared voters: not decomposable, so it needs knowledge compilation.
%% answer: majority  0.67664

0.6::vote(1).
0.7::vote(2).
0.55::vote(3).
0.8::vote(4).
0.3::vote(5).

majority :- vote(A), vote(B), A < B, vote(C), B < C.

query(majority).
