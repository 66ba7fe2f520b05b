% Three digits from 0 to 5, each seen as an image, in order: which place does each take from the least up? Equal digits share
% a place, so that 4 2 4 is ranked 2-1-2. Only these places are observed.

nn(digit_net, [X], Y, [0..5]) :: digit(X, Y).

ranked(X, Y, Z, I-J-K) :-
    digit(X, A), digit(Y, B), digit(Z, C),
    place(A, B, C, I), place(B, A, C, J), place(C, A, B, K).

% The place of the first: one more than the number of different digits below it.
place(A, B, C, 1) :- A =< B, A =< C.
place(A, B, C, 2) :- A > B, A =< C.
place(A, B, C, 2) :- A =< B, A > C.
place(A, B, B, 2) :- A > B.
place(A, B, C, 3) :- A > B, A > C, B \= C.
