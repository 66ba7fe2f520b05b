% all/3 has no answer for an empty list, where findall/3 answers [].
%% answer: some([x])  0.12
%% answer: some([y])  0.42
%% answer: some([x, y])  0.18
%% answer: any([])  0.28
%% answer: any([x])  0.12
%% answer: any([y])  0.42
%% answer: any([x, y])  0.18

0.3::bid(x).
0.6::bid(y).

some(L) :- all(B, bid(B), L).
any(L) :- findall(B, bid(B), L).

query(some(_)).
query(any(_)).
