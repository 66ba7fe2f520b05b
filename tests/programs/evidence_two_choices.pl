% Only the sum of two choices is observed; the posterior of each.
%% answer: first(0)  0.03333333333333333
%% answer: first(1)  0.13333333333333333
%% answer: first(2)  0.3
%% answer: first(3)  0.5333333333333333
%% answer: second(3)  0.03333333333333333

0.1::first(0); 0.2::first(1); 0.3::first(2); 0.4::first(3).
0.4::second(0); 0.3::second(1); 0.2::second(2); 0.1::second(3).

total(T) :- first(A), second(B), T is A + B.

query(first(_)).
query(second(3)).
evidence(total(3)).
